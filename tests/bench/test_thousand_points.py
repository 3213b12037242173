"""A run of a thousand points: its result after each, its report, and its page in a browser (`make bench`)."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from pytest_benchmark.fixture import BenchmarkFixture
from selenium import webdriver

from tests.e2e.ten_million import apart, make

POINTS, REQUESTS = 1000, 2000


def test_report_of_a_thousand_points_and_its_page(
    tmp_path: Path, benchmark: BenchmarkFixture, browser: webdriver.Chrome
) -> None:
    make(tmp_path, POINTS, REQUESTS)
    took = apart("run", tmp_path)
    print(
        f"\n{POINTS:,} points: figures {took['derive_s'] / POINTS * 1e3:.0f} ms each, the result after the "
        f"last {took['last_result_s']:.2f} s, page {took['page_s']:.1f} s, "
        f"memory at most {took['peak_bytes'] / 1e6:.0f} MB"
    )
    run = Path(took["run"])
    again = benchmark.pedantic(apart, args=("report", run), rounds=1)
    page = run / "report.html"
    opened = []
    for _ in range(3):
        browser.get("about:blank")
        began = time.monotonic()
        browser.get(page.as_uri())
        opened.append(time.monotonic() - began)
    size = page.stat().st_size
    print(
        f"harness report: {again['report_s']:.1f} s; its page has {size / 1e6:.1f} MB and opens in "
        f"{median(opened):.1f} s"
    )
    assert size < 30e6 and again["report_s"] < 30 and median(opened) < 3
