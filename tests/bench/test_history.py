"""10,000 runs: how long the first look takes, and each one after it (`make bench`)."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.store.finished import finished_run
from tests.store.past_runs import TWO_POINTS, PastRuns

RUNS = 10_000
LOOKS = {
    "list": ("history", "--limit", "50"),
    "filter": ("history", "--scenario", "s3", "--machine", "bench-2", "--since", "2026-06-01"),
    "trend": ("history", "trend", "s3", "--metric", "p99"),
    "sql": ("history", "sql", "SELECT scenario, median(p99_s) FROM runs GROUP BY scenario"),
}


def look(results: Path, *arguments: str) -> float:
    """How long the command takes, from its start to its end, in seconds."""
    began = time.monotonic()
    command = [sys.executable, "-m", "harness", *arguments, "--results", str(results), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def test_ten_thousand_runs(
    tmp_path: Path, benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    past = PastRuns(tmp_path / "results", finished_run(tmp_path / "of", TWO_POINTS).path, linked=True)
    for number in range(RUNS):
        past.made(
            number % 365,
            name=f"{number:05}",
            scenario=f"s{number % 10}",
            host=f"bench-{number % 3}",
            p99_s=0.02 + number % 7 / 1000,
        )
    time.sleep(4)  # what was just written is read again, once
    first = look(past.results, *LOOKS["list"])
    (index,) = (tmp_path / "cache" / "history").iterdir()
    print(
        f"\n{RUNS:,} runs of two points, each command from start to end: the first look {first:.0f} s; "
        f"the index has {index.stat().st_size / 1e6:.0f} MB"
    )
    took = {name: [look(past.results, *arguments) for _ in range(5)] for name, arguments in LOOKS.items()}
    for name, seconds in took.items():
        print(f"{name}: {median(seconds):.2f} s (at most {max(seconds):.2f} s)")
    past.made(1, name="new")
    time.sleep(4)
    print(f"with a run that is new: {look(past.results, *LOOKS['list']):.2f} s")
    benchmark.pedantic(look, args=(past.results, *LOOKS["list"]), rounds=3)
    assert all(median(seconds) < 2 for seconds in took.values())
