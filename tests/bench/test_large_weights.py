"""Weights over 2 GB, which no protobuf holds: seconds and memory of an export, and that it is served.

Run with `pytest -o addopts= --benchmark-only -s tests/bench/test_large_weights.py`: 2.3 GB in 15 layers, once
as a torch module and once as an ONNX file with its weights beside it. It takes 8 GB of disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

WIDTH, LAYERS = 6144, 15
BYTES = 4 * WIDTH * WIDTH * LAYERS
MOST = 5.0
"""Memory that an export may take, over the weights: torch's, the file's, and those of two sessions."""

FACTORY = f"""
import torch
from harness.model import Input, TorchModel

def made():
    torch.manual_seed(0)
    layers = [torch.nn.Linear({WIDTH}, {WIDTH}, bias=False) for _ in range({LAYERS})]
    return TorchModel(torch.nn.Sequential(*layers), (Input("x", "FP32", ("batch", {WIDTH})),))
"""

SCENARIO = """\
model: MODEL
server: {max_batch: 2}
requests:
  - {name: one}
load: {concurrency: 1}
measure: {warmup_s: 1, duration_s: 3}
validity: {foreign_cpu: 1, stolen_cpu: 1, drift: 1000, idle_users: 1}
"""


def harness(place: Path, *arguments: str) -> tuple[dict[str, object], float, float]:
    """The document that it prints; seconds, and bytes of memory that it held at most."""
    began = time.perf_counter()
    with (place / "stderr").open("wb") as said, (place / "stdout").open("w+") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", *arguments, "--json"],
            cwd=place,
            env=os.environ | {"HARNESS_CACHE": str(place / "cache")},
            stdout=printed,
            stderr=said,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        assert process.returncode == 0, (place / "stderr").read_text()
        return json.load(printed), time.perf_counter() - began, usage.ru_maxrss * 1024


@pytest.mark.timeout(1800)
def test_weights_that_no_protobuf_holds(
    benchmark: BenchmarkFixture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "big.py").write_text(FACTORY)

    def exports() -> dict[str, tuple[float, float]]:
        found = {}
        document, *found["torch module"] = harness(tmp_path, "export", "big:made")
        exported = Path(str(document["onnx_path"])).parent
        for file in exported.glob("model.onnx*"):
            os.link(file, tmp_path / file.name)
        assert sum(file.stat().st_size for file in tmp_path.glob("model.onnx*")) > 2**31
        _, *found["ONNX file"] = harness(tmp_path, "export", "model.onnx")
        (tmp_path / "s.yaml").write_text(SCENARIO.replace("MODEL", "model.onnx"))
        run, *found["run of it"] = harness(tmp_path, "run", "s.yaml")
        points = run["points"]
        assert isinstance(points, list) and points[0]["verdict"] == "valid" and points[0]["requests"] > 0
        return {name: (seconds, held) for name, (seconds, held) in found.items()}

    found = benchmark.pedantic(exports, rounds=1)
    with capsys.disabled():
        for name, (seconds, held) in found.items():
            sys.stdout.write(
                f"\n{BYTES / 1e9:.2f} GB of weights, {name}: {seconds:.0f} s, {held / 1e9:.1f} GB\n"
            )
    assert max(held for _, held in found.values()) < MOST * BYTES
