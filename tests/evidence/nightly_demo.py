"""Three nights of a sentence encoder: the first is the baseline, the second has the same build, the third one
that is 10% slower.

    python -m tests.evidence.nightly_demo results/nightly-demo

Ends with 1 where the second isn't a pass, or the third no regression that names compute.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import onnx

import harness
from tests.evidence.slowed import inputs_of, slower_by

SCENARIO = """\
# Three nights of this are what `make nightly-demo` runs.
model: encoder.onnx
server: {max_batch: 1}
requests:
  - {name: text, axes: {tokens: 16}, low: 1, high: 2}
load: {concurrency: 1}
regression: {minutes_per_point: 3.5, wait_minutes: 0}
"""

SLOWER = 0.1


def main() -> int:
    folder = Path(sys.argv[1]).absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    exported = harness.export_model("minilm")
    model = onnx.load(exported.onnx_path)
    (folder / "encoder.yaml").write_text(SCENARIO)
    onnx.save(model, folder / "encoder.onnx")
    began = time.monotonic()
    codes = [night(folder, "the first night: its build is the baseline")]
    codes.append(night(folder, "the second night: the same build"))
    onnx.save(slower_by(model, SLOWER, inputs_of(model, {"tokens": 16})), folder / "encoder.onnx")
    codes.append(night(folder, f"the third night: a build that is {SLOWER:.0%} slower"))
    last = json.loads(sorted(folder.glob("results/*/nightly.json"))[-1].read_text())
    (point,) = last["comparison"]["points"]
    moved = point["moved"][0]["part"]
    print(f"{(time.monotonic() - began) / 60:.1f} min; exit codes {codes}; what moved most is {moved}")
    return 0 if codes == [0, 0, 1] and moved == "compute" else 1


def night(folder: Path, title: str) -> int:
    print(f"\n=== {title}", flush=True)
    command = [sys.executable, "-m", "harness", "nightly", "encoder.yaml"]
    return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
