"""How long a person waits: for `--help`, and from `harness run` to the first request on warm caches."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

ROOT = Path(__file__).parents[2]


@pytest.mark.benchmark(group="start")
def test_harness_help(benchmark: BenchmarkFixture) -> None:
    """To hold: a median under 0.5 s."""
    command = [str(Path(sys.executable).with_name("harness")), "--help"]
    benchmark.pedantic(
        lambda: subprocess.run(command, check=True, capture_output=True), rounds=15, warmup_rounds=2
    )


@pytest.mark.benchmark(group="start")
def test_ready_to_load(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """From `harness run` of the demo to its first request, caches warm. To hold: under 15 s."""

    def until_first_request() -> None:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "harness",
                "run",
                str(ROOT / "scenarios/demo.yaml"),
                "--set",
                "measure.warmup_s=1",
            ],
            cwd=tmp_path,
            env=os.environ.copy(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        give_up = time.monotonic() + 120
        try:
            while not any(f.stat().st_size for f in tmp_path.glob("results/*/points/*/load/*.spool")):
                assert process.poll() is None, "the run ended before its first request"
                assert time.monotonic() < give_up
                time.sleep(0.02)
        finally:
            process.terminate()
            process.wait(30)
        for folder in tmp_path.glob("results/*"):
            folder.rename(tmp_path / f"seen-{folder.name}-{time.monotonic_ns()}")

    benchmark.pedantic(until_first_request, rounds=3, warmup_rounds=1)
