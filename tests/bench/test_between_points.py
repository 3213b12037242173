"""What passes between two points on an unchanged server, beside warm-up and measurement."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.triton.models import double

SCENARIO = """\
model: double.onnx
server: {max_batch: 8}
requests:
  - {name: small, axes: {n: 16}}
load: {concurrency: [1, 2, 3, 4, 5, 6, 7, 8]}
measure: {warmup_s: 0.5, duration_s: 1}
"""
WARMUP_S = 0.5
TO_HOLD_S = 0.5


@pytest.mark.benchmark(group="between points")
def test_between_points(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """To hold: at most half a second in the median, from the end of one to that of the next, where the
    machine has a core to spare. On a machine with a GPU the wait for its idle state comes on top."""
    (tmp_path / "models").mkdir()
    (tmp_path / "double.onnx").write_bytes(double(tmp_path / "models").path.read_bytes())
    (tmp_path / "eight.yaml").write_text(SCENARIO)

    def run() -> None:
        command = [sys.executable, "-m", "harness", "run", "eight.yaml"]
        subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)

    benchmark.pedantic(run, rounds=1)
    (folder,) = (tmp_path / "results").iterdir()
    found = [json.loads(file.read_text()) for file in folder.glob("points/*/observed.json")]
    assert len(found) == 8
    found.sort(key=lambda observed: str(observed["started_at"]))
    gaps = []
    for before, after in pairwise(found):
        passed = datetime.fromisoformat(after["finished_at"]) - datetime.fromisoformat(before["finished_at"])
        start_ns, end_ns = after["window_ns"]
        gaps.append(passed.total_seconds() - WARMUP_S - (end_ns - start_ns) / 1e9)
    benchmark.extra_info["between points, s"] = [round(gap, 3) for gap in gaps]
    print(f"\nbetween points: median {median(gaps):.2f} s, largest {max(gaps):.2f} s, of {len(gaps)}")
    assert median(gaps) <= TO_HOLD_S
