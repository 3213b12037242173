"""`benchmark.json`, as the real `pytest-benchmark compare` reads it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from pytest_benchmark.stats import Stats

from harness.analysis.sample_statistics import statistics_of
from harness.commands import report
from harness.commands.progress import Progress
from harness.report import benchmark_json
from harness.report.benchmark_json import of_comparison, of_run
from harness.schema.result import PointResult
from harness.verdict.judge import RoundsOfPoint
from tests.report.factory import run_of
from tests.report.test_comparison_page import comparison
from tests.store.test_runs_of_0_1 import RUNS
from tests.verdict.test_judge import made

FEW = np.linspace(0.001, 0.003, 50)
TWO = [RoundsOfPoint("1 user", {}, [made(np.random.default_rng(3)) for _ in range(4)])]


def compared(*files: Path) -> str:
    """What `pytest-benchmark compare` prints of the files."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", "--group-by=group", *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
        cwd=files[0].parent,
    )
    assert done.returncode == 0 and "Failed to load" not in done.stderr, done.stderr
    return done.stdout


def benchmarks(text: str) -> list[dict[str, Any]]:
    return list(json.loads(text)["benchmarks"])


def test_the_real_tool_compares_runs(tmp_path: Path) -> None:
    files = []
    for name in ("wires", "server-died"):
        result = report.rebuild(Path(shutil.copytree(RUNS / name, tmp_path / name)), Progress(quiet=True))
        files.append(tmp_path / name / benchmark_json.NAME)
        found = {each["fullname"]: each for each in benchmarks(files[-1].read_text())}
        valid = [point for point in result.points if point.verdict == "valid"]
        assert set(found) == {f"{result.scenario}::{point.id}" for point in valid}
        for point in valid:
            benchmark = found[f"{result.scenario}::{point.id}"]
            stats, latency = benchmark["stats"], point.latency_s
            assert (stats["min"], stats["median"], stats["max"]) == (latency.min, latency.p50, latency.max)
            assert stats["mean"] == pytest.approx(latency.mean) and stats["stddev"] > 0
            throughput = benchmark["extra_info"]["throughput_requests_per_s"]
            assert throughput == point.throughput_requests_per_s
            assert None not in benchmark["extra_info"].values()
    printed = compared(*files)
    assert "3 tests" in printed and "StdDev" in printed and valid[0].point.label in printed


def test_the_real_tool_compares_the_arms_of_a_night(tmp_path: Path) -> None:
    file = tmp_path / "benchmark.json"
    file.write_text(of_comparison(comparison(), TWO))
    found = {each["fullname"]: each for each in benchmarks(file.read_text())}
    assert set(found) == {
        f"{scenario}::1 user::{metric}::{arm}"
        for metric in ("throughput", "p50", "p99")
        for scenario, arm in (("before", "baseline"), ("after", "candidate"))
    }
    throughput = found["after::1 user::throughput::candidate"]["stats"]
    values = [each.candidate.throughput_requests_per_s for each in TWO[0].rounds]
    assert throughput["rounds"] == 4 and throughput["min"] == pytest.approx(1 / max(filter(None, values)))
    printed = compared(file)
    assert "benchmark '1 user, p50': 2 tests" in printed and "1 user, p50, candidate" in printed


def test_a_figure_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    run = run_of(verdicts={0: "invalid", 1: "inconclusive"})
    statistics = {point.id: statistics_of(FEW.copy()) for point in run.points}
    named = {each["fullname"] for each in benchmarks(of_run(run, statistics))}
    assert named == {f"{run.scenario}::{point.id}" for point in run.points[2:]}

    def without(point: PointResult) -> PointResult:
        latency = point.latency_s.model_copy(update={"p50": None})
        return point.model_copy(update={"latency_s": latency})

    unsupported = run.model_copy(update={"points": tuple(map(without, run.points)), "environment": None})
    assert benchmarks(of_run(unsupported, statistics)) == [] == benchmarks(of_run(run, {}))
    (tmp_path / "none.json").write_text(of_run(run, {}))
    compared(tmp_path / "none.json")
    once = [RoundsOfPoint("1 user", {}, TWO[0].rounds[:1])]
    assert benchmarks(of_comparison(comparison(), once)) == [], "one round has no deviation"


@given(some.lists(some.floats(1e-6, 1e3), min_size=2, max_size=60))
def test_the_statistics_are_pytest_benchmarks_own(seconds: list[float]) -> None:
    theirs = Stats()
    for each in seconds:
        theirs.update(each)
    ours = statistics_of(np.array(seconds))
    assert ours is not None
    for name in ("min", "max", "mean", "stddev", "rounds", "total"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-9, abs=1e-12), name
    assert ours.median in seconds and min(seconds) <= ours.q1 <= ours.median <= ours.q3 <= max(seconds)
    outside = [each for each in seconds if not ours.ld15iqr <= each <= ours.hd15iqr]
    assert len(outside) == ours.iqr_outliers


def test_one_time_has_no_statistics() -> None:
    assert statistics_of(np.array([0.5])) is None and statistics_of(np.array([])) is None
