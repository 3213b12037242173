"""What of the backend can't be seen through Triton without a GPU: its core refuses KIND_GPU first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from harness.schema.model import ModelArtifact
from harness.triton.install import BACKEND_SOURCE

OPEN = """
import json, sys
import ort_session
from pathlib import Path
try:
    session = ort_session.open_session(Path(sys.argv[1]), json.loads(sys.argv[3]), sys.argv[2], 0)
    print("opened", *session.get_providers())
except ort_session.pb_utils.TritonModelException as refused:
    print("refused", refused)
"""


def opened(folder: Path, model: ModelArtifact, kind: str, config: str = "{}") -> str:
    """What `open_session` says, in a process where one class stands for Triton's C module."""
    (folder / "triton_python_backend_utils.py").write_text("class TritonModelException(Exception): pass\n")
    done = subprocess.run(
        [sys.executable, "-c", OPEN, model.onnx_path, kind, config],
        env={"PYTHONPATH": f"{BACKEND_SOURCE}:{folder}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def test_cpu_instance_runs_on_the_cpu_provider_alone(
    tmp_path: Path, artifacts: dict[str, ModelArtifact]
) -> None:
    assert opened(tmp_path, artifacts["double"], "CPU") == "opened CPUExecutionProvider"


@pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers() or Path("/dev/nvidia0").exists(),
    reason="needs onnxruntime-gpu on a machine without a GPU",
)
def test_silent_fall_back_from_cuda_to_the_cpu_is_a_refusal(
    tmp_path: Path, artifacts: dict[str, ModelArtifact]
) -> None:
    said = opened(tmp_path, artifacts["double"], "GPU")
    assert said.startswith("refused ONNX Runtime could not start its CUDAExecutionProvider on device 0")


def test_other_accelerators_and_kinds_are_refused_by_name(
    tmp_path: Path, artifacts: dict[str, ModelArtifact]
) -> None:
    tensorrt = (
        '{"optimization": {"execution_accelerators": {"gpu_execution_accelerator": [{"name": "tensorrt"}]}}}'
    )
    assert "'tensorrt'" in opened(tmp_path, artifacts["double"], "GPU", tensorrt)
    assert "KIND_MODEL" in opened(tmp_path, artifacts["double"], "MODEL")
