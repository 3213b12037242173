"""A model on a real GPU, through the real Triton and beside it. Skipped, with the reason, where none is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import psutil
import pytest

from harness.probe.execution_providers import execution_providers
from harness.schema.errors import ServerError
from harness.schema.model import ModelArtifact
from harness.schema.tensors import NUMPY
from harness.triton.embedded import EmbeddedServer
from tests.triton.clients import floats, infer, infer_together
from tests.triton.models import settings

pytestmark = [pytest.mark.gpu, pytest.mark.triton]

Artifacts = dict[str, ModelArtifact]
CUDA = ("cuda", 0)


def close(found: Any, expected: Any) -> bool:
    """As near as FP32 is on a GPU: ONNX Runtime multiplies in TF32 there, with a mantissa of 10 bits."""
    return bool(np.allclose(found, expected, rtol=5e-3, atol=5e-3))


def on_the_cpu(artifact: ModelArtifact, feed: dict[str, Any]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(artifact.path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


@pytest.fixture(scope="module")
def gpu_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    folder = tmp_path_factory.mktemp("gpu")
    with EmbeddedServer(folder / "repository", folder / "triton.log", gpu=True) as running:
        yield running


def log_of(server: EmbeddedServer) -> str:
    return Path(server.log).read_text(errors="replace")


@pytest.mark.parametrize("kind", ["auto", "gpu"])
def test_model_on_the_gpu_gives_what_the_cpu_gives(
    gpu_server: EmbeddedServer, artifacts: Artifacts, kind: str
) -> None:
    name = gpu_server.serve(artifacts["product"], settings(kind=kind))
    assert gpu_server.execution_provider == "CUDAExecutionProvider"
    x = floats(5, 4)
    assert close(infer(gpu_server, name, {"x": x})["y"], on_the_cpu(artifacts["product"], {"x": x})["y"])
    assert "3 of 3 nodes on the CUDAExecutionProvider" in log_of(gpu_server)


@pytest.mark.parametrize("graphs", [False, True])
def test_every_type_passes_through_the_gpu_unchanged(
    gpu_server: EmbeddedServer, artifacts: Artifacts, graphs: bool
) -> None:
    name = gpu_server.serve(artifacts["every_type"], settings(kind="gpu", cuda_graph=graphs))
    rng = np.random.default_rng(3)
    for shape in [(2, 3), (1, 1), (8, 1000), (2, 0)]:
        feeds = {f"x{t}": (rng.random(shape) * 100).astype(dtype) for t, dtype in NUMPY.items()}
        feeds["xBOOL"] = rng.integers(0, 2, shape).astype(bool)
        for _ in range(3):  # the second and third replay, if there is a graph
            served = infer(gpu_server, name, feeds)
            for t in NUMPY:
                assert np.array_equal(served[f"y{t}"], feeds[f"x{t}"]), (t, shape)


def test_shape_computations_stay_on_the_cpu_and_are_no_fall_back(
    gpu_server: EmbeddedServer, artifacts: Artifacts
) -> None:
    name = gpu_server.serve(artifacts["flat"], settings(kind="gpu"))
    x = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    assert np.array_equal(infer(gpu_server, name, {"x": x})["y"], x.reshape(3, 8))


def test_batch_on_the_gpu_gives_each_request_its_own_rows(
    gpu_server: EmbeddedServer, artifacts: Artifacts
) -> None:
    name = gpu_server.serve(artifacts["double"], settings(kind="gpu", max_batch=16, queue_delay_us=200_000))
    feeds = [{"x": floats(rows, 3, seed)} for seed, rows in enumerate([1, 2, 3, 1, 4, 5])]
    for feed, answer in zip(feeds, infer_together(gpu_server, name, feeds), strict=True):
        assert np.array_equal(answer["y"], feed["x"] * 2)
        assert close(answer["rows"], feed["x"].sum(axis=1, keepdims=True))


def test_two_instances_share_the_gpu(gpu_server: EmbeddedServer, artifacts: Artifacts) -> None:
    name = gpu_server.serve(artifacts["product"], settings(kind="gpu", instances=2, gpus=(0,)))
    group = gpu_server.control.model_config(name)["instance_group"][0]
    assert (group["count"], group["gpus"]) == (2, [0])
    stubs = [p for p in gpu_server.process_ids()[1:] if "python_backend_stub" in psutil.Process(p).exe()]
    assert len(stubs) == 2
    feeds = [{"x": floats(2, 4, seed)} for seed in range(8)]
    for feed, answer in zip(feeds, infer_together(gpu_server, name, feeds), strict=True):
        assert close(answer["y"], on_the_cpu(artifacts["product"], feed)["y"])


def test_cuda_graphs_give_what_runs_without_them_give(
    gpu_server: EmbeddedServer, artifacts: Artifacts
) -> None:
    feeds = [{"x": floats(rows, 4, seed)} for seed in range(4) for rows in (1, 3, 8)]
    name = gpu_server.serve(artifacts["product"], settings(kind="gpu"))
    plain = [infer(gpu_server, name, feed)["y"] for feed in feeds]
    gpu_server.serve(artifacts["product"], settings(kind="gpu", cuda_graph=True))
    assert gpu_server.provider_options == {"enable_cuda_graph": "1"}
    replayed = [infer(gpu_server, name, feed)["y"] for feed in feeds]
    assert all(close(one, other) for one, other in zip(plain, replayed, strict=True))
    assert len({array.tobytes() for array in replayed}) == len(feeds)  # none is another's, replayed


def test_more_shapes_than_graphs_are_answered_all_the_same(
    gpu_server: EmbeddedServer, artifacts: Artifacts
) -> None:
    name = gpu_server.serve(artifacts["double"], settings(kind="gpu", cuda_graph=True))
    for columns in [*range(1, 41), 5, 40]:
        x = floats(2, columns)
        assert np.array_equal(infer(gpu_server, name, {"x": x})["y"], x * 2)
    assert log_of(gpu_server).count("run without a CUDA graph") == 1


def test_model_of_which_a_part_would_run_on_the_cpu_is_refused_by_its_node(
    gpu_server: EmbeddedServer, artifacts: Artifacts
) -> None:
    with pytest.raises(ServerError, match=r"'determinant' \(Det\) on the GPU"):
        gpu_server.serve(artifacts["determinants"], settings(kind="gpu"))
    assert gpu_server.execution_provider is None


def test_gpu_that_is_not_there_is_refused(gpu_server: EmbeddedServer, artifacts: Artifacts) -> None:
    with pytest.raises(ServerError, match="Triton refused product"):
        gpu_server.serve(artifacts["product"], settings(kind="gpu", gpus=(250,)))


def test_tensorrt_gives_what_the_cpu_gives(gpu_server: EmbeddedServer, artifacts: Artifacts) -> None:
    found = {p.name: p for p in execution_providers()}.get("TensorrtExecutionProvider")
    if found is None or not found.usable:
        pytest.skip(f"no TensorRT here: {found.reason if found else 'onnxruntime was built without it'}")
    for model, shape in (("product", (4,)), ("double", (3,))):  # a fixed shape, and one that isn't known
        name = gpu_server.serve(artifacts[model], settings(kind="gpu", provider="tensorrt"))
        assert gpu_server.execution_provider == "TensorrtExecutionProvider"
        for rows in (1, 8, 3):
            x = floats(rows, *shape)
            assert close(infer(gpu_server, name, {"x": x})["y"], on_the_cpu(artifacts[model], {"x": x})["y"])


def on_gpu(backend: Any, array: Any) -> Any:
    value = onnxruntime.OrtValue.ortvalue_from_numpy(array, *CUDA)
    return backend.device_memory.Memory.of_onnxruntime(value, array.dtype, CUDA)


@pytest.mark.parametrize("graphs", [False, True])
def test_tensors_that_are_on_the_gpu_stay_there(backend: Any, artifacts: Artifacts, graphs: bool) -> None:
    config = {"optimization": {"cuda": {"graphs": graphs}}}
    session = backend.ort_session.open_session(artifacts["double"].path, config, "GPU", 0)
    given = (session, lambda: backend.ort_session.run_options({}), CUDA)
    run = backend.ort_run.GraphRunner(*given, print) if graphs else backend.ort_run.DeviceRunner(*given)
    for seed in range(4):
        one, two, three = (floats(rows, 3, seed + rows) for rows in (2, 1, 4))
        whole = np.concatenate([one, two, three])
        for feeds in (
            [on_gpu(backend, whole)],
            [on_gpu(backend, one), on_gpu(backend, two), on_gpu(backend, three)],
            [one, on_gpu(backend, two), three],
        ):
            found = run.run([{"x": tensor} for tensor in feeds], ["y", "rows"])
            assert found["y"].device == CUDA
            assert np.array_equal(found["y"].owner.numpy(), whole * 2)
            assert close(found["rows"].owner.numpy(), whole.sum(axis=1))
            part = backend.device_memory.allocated((1, 3), np.float32, CUDA)
            part.fill(found["y"][2:3])
            assert np.array_equal(part.owner.numpy(), two * 2)
    if graphs:
        assert len(run.graphs) == 1


def test_dlpack_of_the_gpu_can_be_read_by_another_library(backend: Any) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("the installed torch has no CUDA")
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    seen = torch.utils.dlpack.from_dlpack(on_gpu(backend, array)[1:3].capsule())
    assert str(seen.device) == "cuda:0"
    assert np.array_equal(seen.cpu().numpy(), array[1:3])
    given = SimpleNamespace(to_dlpack=lambda: torch.utils.dlpack.to_dlpack(torch.ones(2, 3, device="cuda")))
    memory = backend.device_memory.Memory.of_triton(given)
    assert (memory.shape, memory.device, memory.dtype) == ((2, 3), CUDA, np.float32)
    copy = backend.device_memory.allocated((2, 3), np.float32, CUDA)
    copy.fill(memory)
    assert (copy.owner.numpy() == 1).all()
