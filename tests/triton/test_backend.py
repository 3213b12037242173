"""What of the backend can't be seen through Triton without a GPU: its core refuses KIND_GPU first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from harness.schema.model import ModelArtifact
from harness.triton.backend.ort_providers import Unsupported, execution_providers
from harness.triton.install import BACKEND_SOURCE
from harness.triton.provider import provider_of
from harness.triton.repository import model_config
from tests.triton.direct import DOUBLE
from tests.triton.models import settings

sys.path.insert(0, str(BACKEND_SOURCE))
try:
    import ort_placement  # type: ignore[import-not-found]
finally:
    sys.path.pop(0)

RUN = """
import json, sys
import ort_session
from pathlib import Path
config = json.loads(sys.argv[3])
try:
    print({what})
except ort_session.pb_utils.TritonModelException as refused:
    print("refused", refused)
"""


def said(what: str, path: Path, kind: str = "CPU", config: dict[str, Any] | None = None) -> str:
    """What the expression gives in a process where a double stands for Triton's C module."""
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(what=what), str(path), kind, json.dumps(config or {})],
        env={"PYTHONPATH": f"{BACKEND_SOURCE}:{DOUBLE}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def opened(model: ModelArtifact, kind: str, config: dict[str, Any] | None = None) -> str:
    call = "*ort_session.open_session(Path(sys.argv[1]), config, sys.argv[2], 0).get_providers()"
    return said(call, model.path, kind, config)


def accelerated(name: str, **parameters: str) -> dict[str, Any]:
    accelerator = {"name": name, "parameters": parameters}
    return {"optimization": {"execution_accelerators": {"gpu_execution_accelerator": [accelerator]}}}


GRAPHS = {"optimization": {"cuda": {"graphs": True}}}
GRAPHS_AND_TENSORRT = {"optimization": {**GRAPHS["optimization"], **accelerated("tensorrt")["optimization"]}}

without_gpu = pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers() or Path("/dev/nvidia0").exists(),
    reason="needs onnxruntime-gpu on a machine without a GPU",
)


def test_cpu_instance_runs_on_the_cpu_provider_alone(artifacts: dict[str, ModelArtifact]) -> None:
    assert opened(artifacts["double"], "CPU") == "CPUExecutionProvider"


@without_gpu
@pytest.mark.parametrize("config", [{}, GRAPHS], ids=["plain", "cuda graphs"])
def test_silent_fall_back_from_cuda_to_the_cpu_is_a_refusal(
    artifacts: dict[str, ModelArtifact], config: dict[str, Any]
) -> None:
    answer = opened(artifacts["double"], "GPU", config)
    assert answer.startswith("refused ONNX Runtime could not start its CUDAExecutionProvider on device 0")
    assert "mend CUDA" in answer


@without_gpu
def test_tensorrt_without_its_libraries_is_a_refusal_that_names_the_package(
    artifacts: dict[str, ModelArtifact],
) -> None:
    if "TensorrtExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("the installed onnxruntime has no TensorRT provider")
    answer = opened(artifacts["double"], "GPU", accelerated("tensorrt"))
    major = onnxruntime.cuda_version.split(".")[0]
    assert answer.startswith("refused the accelerator 'tensorrt' needs TensorRT 10 (libnvinfer.so.10")
    assert f'"tensorrt-cu{major}-libs<11"' in answer


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [("CUDAExecutionProvider", {})]),
        (
            accelerated("cuda", cudnn_conv_use_max_workspace="0"),
            [("CUDAExecutionProvider", {"cudnn_conv_use_max_workspace": "0"})],
        ),
        (GRAPHS, [("CUDAExecutionProvider", {"enable_cuda_graph": "1"})]),
        (
            accelerated(
                "tensorrt",
                precision_mode="FP16",
                max_workspace_size_bytes="1073741824",
                trt_builder_optimization_level="5",
                trt_profile_min_shapes="x:1x4",
            ),
            [
                (
                    "TensorrtExecutionProvider",
                    {
                        "trt_fp16_enable": "1",
                        "trt_max_workspace_size": "1073741824",
                        "trt_builder_optimization_level": "5",
                        "trt_profile_min_shapes": "x:1x4",
                    },
                ),
                ("CUDAExecutionProvider", {}),
            ],
        ),
        (
            accelerated("tensorrt", precision_mode="FP32"),
            [("TensorrtExecutionProvider", {}), ("CUDAExecutionProvider", {})],
        ),
    ],
)
def test_configuration_names_the_providers_and_their_options(
    config: dict[str, Any], expected: list[tuple[str, dict[str, str]]]
) -> None:
    assert execution_providers(config, "GPU") == expected
    assert provider_of({**config, "instance_group": [{"kind": "KIND_GPU"}]}) == expected[0]


@pytest.mark.parametrize(
    ("config", "kind", "reason"),
    [
        (accelerated("tensorrt", no_such="1"), "GPU", "'no_such'"),
        (accelerated("tensorrt", precision_mode="FP8"), "GPU", "'FP8': give FP32, FP16"),
        (accelerated("tensorrt", trt_cuda_graph_enable="1"), "GPU", "'trt_cuda_graph_enable'"),
        (accelerated("cuda", enable_cuda_graph="1"), "GPU", r"graphs: true"),
        (accelerated("openvino"), "GPU", "'openvino'"),
        (accelerated("cuda"), "CPU", "needs KIND_GPU"),
        (GRAPHS, "CPU", "graphs need KIND_GPU"),
        (GRAPHS_AND_TENSORRT, "GPU", "one of the two"),
        ({}, "MODEL", "KIND_MODEL"),
    ],
)  # fmt: skip
def test_what_is_not_honoured_is_refused_by_its_name(config: dict[str, Any], kind: str, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        execution_providers(config, kind)
    assert provider_of({**config, "instance_group": [{"kind": f"KIND_{kind}"}]}) == (None, {})


def test_refusals_reach_triton(artifacts: dict[str, ModelArtifact]) -> None:
    assert opened(artifacts["double"], "MODEL").startswith("refused KIND_MODEL")
    assert opened(artifacts["double"], "CPU", GRAPHS).startswith("refused optimization: cuda graphs")


@pytest.mark.parametrize(("provider", "dtype"), [("tensorrt", "fp16"), ("tensorrt", None), ("cuda", None)])
def test_what_harness_writes_is_what_the_backend_reads(
    artifacts: dict[str, ModelArtifact], provider: Any, dtype: Any
) -> None:
    artifact = artifacts["product"].model_copy(update={"dtype": dtype})
    config = model_config(artifact, settings(kind="gpu", provider=provider), gpu=True)
    name, options = provider_of(config)
    if provider == "cuda":
        assert (name, options) == ("CUDAExecutionProvider", {})
    else:
        assert name == "TensorrtExecutionProvider"
        assert options.get("trt_fp16_enable") == ("1" if dtype == "fp16" else None)
        assert (options["trt_profile_min_shapes"], options["trt_profile_max_shapes"]) == ("x:1x4", "x:8x4")
    done = said("ort_session.refuse_unhonoured(config)", artifact.path, "GPU", config)
    assert done == "None"


def placed(artifact: ModelArtifact, on: str) -> dict[str, list[Any]]:
    """Where a real session has this model's nodes, the CPU, as if `on` were the name of that."""
    if not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"):
        pytest.skip(f"onnxruntime {onnxruntime.__version__} can't tell where its nodes are")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry(ort_placement.RECORD, "1")
    session = onnxruntime.InferenceSession(artifact.path, options, providers=["CPUExecutionProvider"])
    found = ort_placement.placement(session)
    return {on: found["CPUExecutionProvider"]}


def test_computing_on_the_cpu_is_a_fall_back_that_names_the_nodes(
    artifacts: dict[str, ModelArtifact],
) -> None:
    found = placed(artifacts["product"], "CPUExecutionProvider")
    reason = ort_placement.fall_back(found, "CUDAExecutionProvider")
    assert "'matmul' (MatMul), 'relu' (Relu) on the GPU" in reason
    assert "'add'" not in reason  # an operator that may be part of a shape's computation
    found = placed(artifacts["determinants"], "CPUExecutionProvider")
    assert "'determinant' (Det)" in ort_placement.fall_back(found, "CUDAExecutionProvider")


def test_many_nodes_on_the_cpu_are_counted_and_a_few_named() -> None:
    nodes = [ort_placement.Node(f"n{index}", "Erf") for index in range(12)]
    reason = ort_placement.fall_back({"CPUExecutionProvider": nodes}, "CUDAExecutionProvider")
    assert "'n4' (Erf) and 7 more" in reason
    assert "'n5'" not in reason


def test_computing_with_shapes_on_the_cpu_is_no_fall_back(artifacts: dict[str, ModelArtifact]) -> None:
    shapes = placed(artifacts["flat"], "CPUExecutionProvider")
    assert [node.operator for node in shapes["CPUExecutionProvider"]] == [
        "Shape",
        "Gather",
        "Concat",
        "Reshape",
    ]
    both = shapes | placed(artifacts["product"], "CUDAExecutionProvider")
    assert ort_placement.fall_back(both, "CUDAExecutionProvider") is None
    said = ort_placement.told(both)
    assert "3 of 7 nodes on the CUDAExecutionProvider" in said
    assert "on the CPU for shapes: 1 Shape, 1 Gather, 1 Concat, 1 Reshape" in said


def test_provider_that_got_no_node_at_all_is_a_fall_back(artifacts: dict[str, ModelArtifact]) -> None:
    on_cuda = placed(artifacts["product"], "CUDAExecutionProvider")
    reason = ort_placement.fall_back(on_cuda, "TensorrtExecutionProvider")
    assert "none of the model's nodes to its TensorrtExecutionProvider" in reason
    assert "CUDAExecutionProvider" in reason
    assert ort_placement.fall_back(on_cuda, "CUDAExecutionProvider") is None


def test_engines_are_kept_by_the_models_content_and_not_by_its_name(tmp_path: Path) -> None:
    def folder(graph: bytes, weights: bytes | None, at: str) -> str:
        entry = tmp_path / at
        entry.mkdir(exist_ok=True)
        (entry / "model.onnx").write_bytes(graph)
        if weights is not None:
            (entry / "model.onnx.data").write_bytes(weights)
        call = f"[setattr(ort_session, 'ENGINES', Path({str(tmp_path / 'engines')!r})), "
        call += "ort_session.engine_cache(Path(sys.argv[1]))['trt_engine_cache_path']][1]"
        return said(call, entry / "model.onnx")

    one = folder(b"graph", None, "a")
    assert Path(one).is_dir()
    assert folder(b"graph", None, "b") == one
    others = {folder(b"graph", b"1", "c"), folder(b"graph", b"2", "c"), folder(b"other", None, "a")}
    assert len(others | {one}) == 4
