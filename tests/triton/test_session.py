"""What the backend makes of the session that ONNX Runtime gives it on a GPU."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from harness.schema.model import ModelArtifact

Artifacts = dict[str, ModelArtifact]


@pytest.fixture
def claimed(backend: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Sessions claim the providers that were asked for, and every node but Det's on the first of them.

    Only what `open_session` makes of that is shown here; that it is so, a GPU shows (test_gpu.py). The list
    gets what each session was asked for.
    """
    asked: list[Any] = []

    class Claimed(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, path: str, options: Any, *, providers: Any, enable_fallback: int = 1) -> None:
            super().__init__(path, options, providers=["CPUExecutionProvider"])
            if providers == ["CPUExecutionProvider"]:
                return
            self.claims = [name for name, _ in providers]
            asked.append((providers, enable_fallback))

        def get_providers(self) -> list[str]:
            return [*self.claims, "CPUExecutionProvider"]

        def get_provider_graph_assignment_info(self) -> list[Any]:
            return [
                SimpleNamespace(
                    ep_name="CPUExecutionProvider" if node.op_type == "Det" else self.claims[0],
                    get_nodes=lambda node=node: [node],
                )
                for group in super().get_provider_graph_assignment_info()
                for node in group.get_nodes()
            ]

    cuda = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "InferenceSession", Claimed)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: cuda)
    monkeypatch.setattr(backend.ort_session, "load_tensorrt", lambda: None)
    monkeypatch.setattr(backend.pb.Logger, "said", [])
    return asked


def test_session_on_a_gpu_is_asked_for_on_its_device_and_logged(
    backend: Any, artifacts: Artifacts, claimed: list[Any]
) -> None:
    config = {"name": "ours", "optimization": {"cuda": {"graphs": True}}}
    backend.ort_session.open_session(artifacts["product"].path, config, "GPU", 3)
    ((providers, enable_fallback),) = claimed
    assert providers == [("CUDAExecutionProvider", {"enable_cuda_graph": "1", "device_id": "3"})]
    assert enable_fallback == 0
    assert backend.pb.Logger.said == ["ours: 3 of 3 nodes on the CUDAExecutionProvider"]


def test_tensorrt_is_first_and_keeps_its_engines_unless_told_where(
    backend: Any, artifacts: Artifacts, claimed: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(backend.ort_session, "ENGINES", tmp_path)
    artifact = artifacts["product"]
    for told in ({}, {"trt_engine_cache_path": "/elsewhere"}):
        accelerator = {"name": "tensorrt", "parameters": {"precision_mode": "FP16", **told}}
        config = {"optimization": {"execution_accelerators": {"gpu_execution_accelerator": [accelerator]}}}
        backend.ort_session.open_session(artifact.path, config, "GPU", 0)
    (first, other), ((_, elsewhere), _) = (providers for providers, _ in claimed)
    name, options = first
    assert (name, options["trt_fp16_enable"], options["device_id"]) == ("TensorrtExecutionProvider", "1", "0")
    assert options["trt_engine_cache_path"] == str(tmp_path / artifact.sha256[:16])
    assert other == ("CUDAExecutionProvider", {"device_id": "0"})
    assert elsewhere["trt_engine_cache_path"] == "/elsewhere"
    assert elsewhere["trt_engine_cache_enable"] == "1"


def test_session_of_which_a_part_computes_on_the_cpu_is_refused(
    backend: Any, artifacts: Artifacts, claimed: list[Any]
) -> None:
    with pytest.raises(backend.pb.TritonModelException, match=r"'determinant' \(Det\) on the GPU"):
        backend.ort_session.open_session(artifacts["determinants"].path, {}, "GPU", 0)
    assert len(claimed) == 1
    assert not backend.pb.Logger.said


def test_onnx_runtime_that_is_too_old_for_a_gpu_is_refused_before_it_starts(
    backend: Any, artifacts: Artifacts, claimed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(onnxruntime.OrtValue, "from_dlpack")
    with pytest.raises(backend.pb.TritonModelException, match=r"needs onnxruntime-gpu 1\.26 or newer"):
        backend.ort_session.open_session(artifacts["product"].path, {}, "GPU", 0)
    assert not claimed
    backend.ort_session.open_session(artifacts["product"].path, {}, "CPU", 0)


def test_error_of_onnx_runtime_at_the_start_is_one_sentence(
    backend: Any, artifacts: Artifacts, claimed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA failure 35: the driver is too old\nand more")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(backend.pb.TritonModelException) as refused:
        backend.ort_session.open_session(artifacts["product"].path, {}, "GPU", 1)
    assert str(refused.value) == (
        "ONNX Runtime could not start its CUDAExecutionProvider on device 1: "
        "CUDA failure 35: the driver is too old"
    )
    assert not claimed
