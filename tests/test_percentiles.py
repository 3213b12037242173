"""A percentile more is one line more: figures, objective, precision, tables, page and schema follow."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.schema.percentiles import PERCENTILES, figure_title, share
from tests.store.finished import SCENARIO, asked_for, finished_run

LAST = "    p999: Value | None = None\n"
REQUESTS = 300_000
"""Fifteen seconds of them: the first few are an initial transient, and belong to no latency figure."""


@pytest.fixture(scope="module")
def with_one_more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of harness with one line more, for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("one-more")
    shutil.copytree(Path(harness.__file__).parent, folder / "harness")
    edited = folder / "harness/schema/percentiles.py"
    source = edited.read_text()
    assert source.count(LAST) == 1
    edited.write_text(source.replace(LAST, f"{LAST}{LAST.replace('p999', 'p9999')}"))
    return folder


def told(path: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        env=os.environ | {"PYTHONPATH": str(path)},
        cwd=path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_s_report_has_a_percentile_that_was_added(with_one_more: Path, tmp_path: Path) -> None:
    folder = finished_run(tmp_path, requests=REQUESTS)
    run = folder.path
    before = json.loads((run / "result.json").read_text())["points"][0]["latency_s"]
    asked_for(folder, objective={"p9999_ms": 60_000})

    table = told(with_one_more, "report", str(run))

    (point,) = json.loads((run / "result.json").read_text())["points"]
    latency_s = point["latency_s"]
    value, (low, high) = latency_s["p9999"], latency_s["interval_95"].pop("p9999")
    assert before["p999"] <= value <= before["max"] and low <= value <= high
    assert {**latency_s, "p9999": None} == {**before, "p9999": None}, "no other figure changes"
    assert point["errors"] / point["requests"] > 1e-4, "and a failed request is over every limit"
    assert point["objective"] == [{"name": "p9999_ms", "limit": 60_000, "observed": None, "met": None}]
    summary, page = (run / "summary.md").read_text(), (run / "report.html").read_text()
    assert all("p99.99 ≤ 60000 ms" in text for text in (table, summary, page))
    assert "| p99.99, ms |" in summary, "a column of its own"
    (own,) = re.findall(r'id="point-[^"]*">(.*?)</script>', page)
    assert '<th scope="row">p99.99</th>' in json.loads(own)["details"], "a row of its own"
    assert re.search(r'<option value="p9999"( selected)?>p99.99</option>', page)


def test_a_scenario_can_ask_for_a_percentile_that_was_added(with_one_more: Path, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        f"{SCENARIO}objective: {{p9999_ms: 50}}\nmeasure: {{at_most_s: 60, precision: {{p9999: 0.1}}}}\n"
    )
    told(with_one_more, "run", str(file), "--dry-run")
    keys = json.loads(told(with_one_more, "schema"))["$defs"]
    assert "p9999" in keys["Precision"]["properties"] and "p9999_ms" in keys["Objective"]["properties"]


def test_a_percentile_s_name_says_its_share_and_its_title() -> None:
    assert [share(name) for name in PERCENTILES] == sorted(share(name) for name in PERCENTILES)
    assert (share("p999"), figure_title("p999")) == (0.999, "p99.9")
    assert (share("p50"), figure_title("p50")) == (0.5, "p50")
    assert figure_title("throughput") == "throughput"
