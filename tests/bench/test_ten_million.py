"""What comes after ten million requests: the samples to Parquet, the figures, the page (`make bench`)."""

from __future__ import annotations

from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from tests.e2e.ten_million import apart, make

REQUESTS = 10_000_000


def test_report_of_ten_million_requests(tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    """`harness report`: samples read, figures derived, page written, in a process of its own."""
    make(tmp_path, 1, REQUESTS)
    took = apart("run", tmp_path)
    print(
        f"\n{REQUESTS:,} requests: to Parquet {took['keep_s']:.1f} s, figures {took['derive_s']:.1f} s, "
        f"page {took['page_s']:.2f} s, memory at most {took['peak_bytes'] / 1e6:.0f} MB"
    )
    assert took["peak_bytes"] < 1e9, "as docs/results.md says; tests/e2e/test_ten_million.py has fewer"
    run = Path(took["run"])
    again = benchmark.pedantic(apart, args=("report", run), rounds=3)
    assert again["peak_bytes"] < 1e9
    print(f"harness report: {again['report_s']:.1f} s, memory at most {again['peak_bytes'] / 1e6:.0f} MB")
