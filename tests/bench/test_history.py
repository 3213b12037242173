"""10,000 runs: how long the first look takes, and each one after it (`make bench`)."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

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


class Took(NamedTuple):
    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.wall_s:.2f} s, {self.cpu_s:.2f} s of CPU"


def look(results: Path, *arguments: str) -> Took:
    """How long the command takes, from its start to its end."""
    began, used = time.monotonic(), _used_s()
    command = [sys.executable, "-m", "harness", *arguments, "--results", str(results), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Took(time.monotonic() - began, _used_s() - used)


def _used_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.timeout(1800)
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
    print(f"\n{RUNS:,} runs of two points; commands from their start to their end, the median of five:")
    print(f"the first look: {first}; the index has {index.stat().st_size / 1e6:.0f} MB")
    took = {}
    for name, arguments in LOOKS.items():
        looks = sorted(look(past.results, *arguments) for _ in range(5))
        took[name] = looks[2]
        print(f"{name}: {looks[2]} (at most {looks[-1]})")
    print(f"the site of them: {look(past.results, 'site')}")
    written = sum(file.stat().st_size for file in (past.results / "site").iterdir())
    print(f"it has {written / 1e6:.1f} MB in {len(list((past.results / 'site').iterdir()))} files")
    folder = past.results / "new"
    shutil.copytree(past.results / "00000", folder)
    time.sleep(4)
    print(f"with a run that is new: {look(past.results, *LOOKS['list'])}")
    benchmark.pedantic(look, args=(past.results, *LOOKS["list"]), rounds=3)
    assert all(each.wall_s < 2 for each in took.values())
