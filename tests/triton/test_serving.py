"""The shared embedded server, real requests and the real configuration behind them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil
import pytest
from onnx import helper
from tritonclient.utils import InferenceServerException

from harness.schema.errors import ServerError
from harness.schema.model import ModelArtifact
from harness.schema.tensors import NUMPY
from harness.triton import install, repository
from harness.triton.embedded import EmbeddedServer
from harness.triton.statistics import difference
from tests.model.test_onnx_files import model, saved, taken
from tests.triton.clients import floats, infer, infer_together
from tests.triton.models import settings

pytestmark = pytest.mark.triton

Artifacts = dict[str, ModelArtifact]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_served_outputs_equal_those_of_onnx_runtime(
    server: EmbeddedServer, artifacts: Artifacts, protocol: str
) -> None:
    name = server.serve(artifacts["double"], settings())
    feed = {"x": floats(5, 7)}
    direct = onnxruntime.InferenceSession(artifacts["double"].path, providers=["CPUExecutionProvider"])
    y, rows = direct.run(["y", "rows"], feed)
    served = infer(server, name, feed, protocol=protocol)
    assert np.array_equal(served["y"], y)
    # Triton's core gives an output of shape [batch] a second axis, with the C++ backend too.
    assert np.array_equal(served["rows"], rows[:, None])


@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (8, 1000), (2, 0)])
def test_every_type_passes_through_unchanged(
    server: EmbeddedServer, artifacts: Artifacts, shape: tuple[int, int]
) -> None:
    server.serve(artifacts["every_type"], settings())
    rng = np.random.default_rng(3)
    feeds = {f"x{name}": (rng.random(shape) * 100).astype(dtype) for name, dtype in NUMPY.items()}
    feeds["xBOOL"] = rng.integers(0, 2, shape).astype(bool)
    served = infer(server, "every_type", feeds)
    for name in NUMPY:
        assert np.array_equal(served[f"y{name}"], feeds[f"x{name}"]), name
        assert served[f"y{name}"].dtype == NUMPY[name]


def test_rows_of_one_number_and_models_without_a_batch_are_served(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    negative = [helper.make_node("Neg", ["x"], ["y"])]
    sums = [
        helper.make_node("Mul", ["x", "k"], ["p"]),
        helper.make_node("ReduceSum", ["p"], ["y"], keepdims=0),
    ]
    rows = taken(saved(model(negative, {"x": ["N"]}, {"y": ["N"]}), tmp_path, "rows.onnx"))
    alone = taken(saved(model(sums, {"x": ["N", 4], "k": []}, {"y": []}), tmp_path, "alone.onnx"))
    name = server.serve(rows, settings(max_batch=16, queue_delay_us=200_000))
    feeds = [{"x": floats(count, 1, seed)} for seed, count in enumerate([1, 2, 3, 1])]
    before = server.statistics(name)
    for feed, answer in zip(feeds, infer_together(server, name, feeds), strict=True):
        assert np.array_equal(answer["y"], -feed["x"])
    assert (mean := difference(before, server.statistics(name)).mean_batch) is not None and mean > 1.75
    name = server.serve(alone, settings(max_batch=16, queue_delay_us=200_000))
    for protocol in ("http", "grpc"):
        feed = {"x": np.ones((20, 4), np.float32), "k": np.array([2], np.float32)}
        assert infer(server, name, feed, protocol=protocol)["y"].tolist() == [160]


def test_concurrent_requests_are_batched_and_each_gets_its_own_rows(
    server: EmbeddedServer, artifacts: Artifacts
) -> None:
    name = server.serve(artifacts["double"], settings(max_batch=16, queue_delay_us=200_000))
    before = server.statistics(name)
    feeds = [{"x": floats(rows, 3, seed)} for seed, rows in enumerate([1, 2, 3, 1, 4, 5])]
    answers = infer_together(server, name, feeds)
    for feed, answer in zip(feeds, answers, strict=True):
        assert np.array_equal(answer["y"], feed["x"] * 2)
    figures = difference(before, server.statistics(name))
    assert (figures.requests, figures.inferences) == (6, 16)
    assert figures.mean_batch is not None and figures.mean_batch > 2.7  # one by one it would be 16/6


def test_a_batch_of_the_preferred_size_goes_at_once_and_another_waits(
    server: EmbeddedServer, artifacts: Artifacts
) -> None:
    """As the simulation has it (harness/simulation/batcher.py)."""
    delay_s = 5.0
    settings_ = settings(max_batch=16, queue_delay_us=int(delay_s * 1e6), preferred_batch=4)
    name = server.serve(artifacts["double"], settings_)
    before, began = server.statistics(name), time.monotonic()
    infer_together(server, name, [{"x": floats(1, 3, seed)} for seed in range(4)])
    assert time.monotonic() - began < delay_s
    assert difference(before, server.statistics(name)).mean_batch == 4.0
    before, began = server.statistics(name), time.monotonic()
    infer_together(server, name, [{"x": floats(1, 3, seed)} for seed in range(3)])
    assert time.monotonic() - began >= delay_s
    assert difference(before, server.statistics(name)).mean_batch == 3.0


def test_without_batching_every_request_is_an_execution(server: EmbeddedServer, artifacts: Artifacts) -> None:
    name = server.serve(artifacts["double"], settings(max_batch=1, queue_delay_us=200_000))
    before = server.statistics(name)
    infer_together(server, name, [{"x": floats(1, 3, seed)} for seed in range(6)])
    assert difference(before, server.statistics(name)).mean_batch == 1.0


def test_only_the_requested_outputs_are_sent(server: EmbeddedServer, artifacts: Artifacts) -> None:
    name = server.serve(artifacts["double"], settings())
    assert set(infer(server, name, {"x": floats(2, 3)}, outputs=["rows"])) == {"rows"}


def test_statistics_count_to_the_request_and_their_parts_fit_the_whole(
    server: EmbeddedServer, artifacts: Artifacts
) -> None:
    name = server.serve(artifacts["slow"], settings(max_batch=4))
    infer(server, name, {"x": floats(1, 3)})  # a warm-up, which the difference must not count
    before = server.statistics(name)
    for rows in (1, 2, 4):
        infer(server, name, {"x": floats(rows, 3)})
    with pytest.raises(InferenceServerException, match="batch"):
        infer(server, name, {"x": floats(5, 3)})  # turned away at the door, so not counted
    figures = difference(before, server.statistics(name))
    assert (figures.requests, figures.inferences, figures.executions) == (3, 7, 3)
    assert (figures.failures, figures.cache_hits) == (0, 0)
    parts = (
        figures.queue_s,
        figures.compute_input_s,
        figures.compute_infer_s,
        figures.compute_output_s,
    )
    assert all(part is not None and part > 0 for part in parts)
    assert figures.request_s is not None and figures.compute_infer_s is not None
    assert figures.compute_infer_s <= figures.request_s
    assert sum(part for part in parts if part is not None) == pytest.approx(figures.request_s, rel=0.1)


def test_run_that_fails_is_answered_counted_and_survived(
    server: EmbeddedServer, artifacts: Artifacts
) -> None:
    name = server.serve(artifacts["reshaper"], settings(queue_delay_us=100_000))
    processes = server.process_ids()
    before = server.statistics(name)
    answers = infer_together(server, name, [{"x": floats(1, 5, seed)} for seed in range(3)])
    assert all(isinstance(answer, InferenceServerException) for answer in answers)
    assert "Reshape" in str(answers[0])
    with pytest.raises(InferenceServerException, match="2 rows for a batch of 1"):
        infer(server, name, {"x": floats(1, 8)})
    assert infer(server, name, {"x": floats(2, 4)})["y"].shape == (2, 4)
    assert server.process_ids() == processes
    figures = difference(before, server.statistics(name))
    assert (figures.requests, figures.failures, figures.inferences) == (5, 4, 2)


def test_two_instances_are_two_processes(server: EmbeddedServer, artifacts: Artifacts) -> None:
    name = server.serve(artifacts["double"], settings(instances=2))
    assert server.control.model_config(name)["instance_group"][0]["count"] == 2
    stubs = [p for p in server.process_ids()[1:] if "triton_python_backend_stub" in psutil.Process(p).exe()]
    assert len(stubs) == 2
    assert infer(server, name, {"x": floats(2, 3)})["y"].shape == (2, 3)


def test_serving_again_puts_other_settings_into_effect_and_resets_the_statistics(
    server: EmbeddedServer, artifacts: Artifacts
) -> None:
    name = server.serve(artifacts["double"], settings(max_batch=4, queue_delay_us=100))
    infer(server, name, {"x": floats(2, 3)})
    before = server.statistics(name)
    server.serve(artifacts["double"], settings(max_batch=7, queue_delay_us=300, threads=2))
    config = server.control.model_config(name)
    assert config["max_batch_size"] == 7
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 300
    assert config["parameters"]["intra_op_thread_count"]["string_value"] == "2"
    assert server.statistics(name).inferences == 0
    with pytest.raises(ServerError, match="statistics were reset"):
        difference(before, server.statistics(name))


def test_only_one_model_is_in_the_server_at_a_time(server: EmbeddedServer, artifacts: Artifacts) -> None:
    server.serve(artifacts["double"], settings())
    server.serve(artifacts["reshaper"], settings())
    ready = [m["name"] for m in server.control.repository_index() if m.get("state") == "READY"]
    assert ready == ["reshaper"]


def test_threads_reach_onnx_runtime(server: EmbeddedServer, artifacts: Artifacts) -> None:
    counts = []
    for threads in (1, 5):
        server.serve(artifacts["double"], settings(threads=threads))
        (stub,) = server.process_ids()[1:]
        counts.append(psutil.Process(stub).num_threads())
    assert counts[1] - counts[0] == 4  # ONNX Runtime's pool, of which the caller is the first


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "unknown parameter": ({"parameters": {"no_such_option": {"string_value": "1"}}}, "'no_such_option'"),
    "shared session": (
        {"parameters": {"share_session_between_instances": {"string_value": "1"}}},
        "'share_session_between_instances'",
    ),
    "bad thread count": ({"parameters": {"intra_op_thread_count": {"string_value": "many"}}}, "'many'"),
    "bad execution mode": ({"parameters": {"execution_mode": {"string_value": "2"}}}, "from 0 to 1"),
    "openvino": (
        {
            "optimization": {
                "execution_accelerators": {"cpu_execution_accelerator": {"name": "openvino"}},
            }
        },
        "'cpu_execution_accelerator'",
    ),
    "gpu option on a cpu": (
        {"optimization": {"execution_accelerators": {"gpu_execution_accelerator": {"name": "cuda"}}}},
        "needs KIND_GPU",
    ),
    "eager batching": ({"optimization": {"eager_batching": True}}, "'eager_batching'"),
    "graph level": ({"optimization": {"graph": {"level": 7}}}, "level is 7"),
    "ragged input": (
        {"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1], "allow_ragged_batch": True}]},
        "'allow_ragged_batch'",
    ),
    "decoupled": ({"model_transaction_policy": {"decoupled": True}}, "'model_transaction_policy'"),
    "wrong type": ({"input": [{"name": "x", "data_type": "TYPE_INT64", "dims": [-1]}]}, "TYPE_FP32"),
    "wrong rank": ({"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 2]}]}, "dims"),
    "wrong name": ({"input": [{"name": "z", "data_type": "TYPE_FP32", "dims": [-1]}]}, "'z'"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_configuration_that_is_not_honoured_is_refused_by_its_name(
    server: EmbeddedServer, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    changed, said = BROKEN[what]
    plain = repository.model_config
    monkeypatch.setattr(repository, "model_config", lambda *a, **k: plain(*a, **k) | changed)
    with pytest.raises(ServerError, match=said) as refused:
        server.serve(artifacts["double"], settings())
    assert "Triton refused double: " in str(refused.value)
    assert "Traceback" not in str(refused.value) and "\n" not in str(refused.value)
    assert server.execution_provider is None


def test_honoured_options_are_accepted(
    server: EmbeddedServer, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = repository.model_config
    options = {
        "intra_op_thread_count": "1",
        "inter_op_thread_count": "2",
        "execution_mode": "1",
        "enable_mem_arena": "0",
        "enable_mem_pattern": "false",
        "session.use_device_allocator_for_initializers": "1",
    }
    changed = {
        "parameters": {name: {"string_value": value} for name, value in options.items()},
        "optimization": {"graph": {"level": -1}},
    }
    monkeypatch.setattr(repository, "model_config", lambda *a, **k: plain(*a, **k) | changed)
    name = server.serve(artifacts["double"], settings())
    feed = {"x": floats(2, 3)}
    assert np.array_equal(infer(server, name, feed)["y"], feed["x"] * 2)


@pytest.mark.skipif(
    Path("/dev/nvidia0").exists(), reason="this machine has a GPU, so the load is not refused"
)
def test_gpu_instance_without_a_gpu_is_refused_at_load(server: EmbeddedServer, artifacts: Artifacts) -> None:
    with pytest.raises(ServerError, match=r"(?i)gpu"):
        server.serve(artifacts["double"], settings(kind="gpu"))


def test_file_that_is_not_onnx_is_refused(
    server: EmbeddedServer, artifacts: Artifacts, tmp_path: Path
) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"this is not a model")
    with pytest.raises(ServerError, match=r"Triton refused double: .*model\.onnx") as refused:
        server.serve(artifacts["double"].model_copy(update={"onnx_path": str(junk)}), settings())
    assert refused.value.exit_code == 2, "the file's fault, and not the server's"


def test_a_refused_model_leaves_the_server_usable(
    server: EmbeddedServer, artifacts: Artifacts, tmp_path: Path
) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"this is not a model")
    with pytest.raises(ServerError, match="Triton refused double"):
        server.serve(artifacts["double"].model_copy(update={"onnx_path": str(junk)}), settings())
    assert server.process_ids() == []
    name = server.serve(artifacts["double"], settings())
    assert server.healthy()
    assert infer(server, name, {"x": floats(1, 2)})["y"].shape == (1, 2)
    assert server.execution_provider == "CPUExecutionProvider"
    assert server.version == install.TRITON_VERSION


def test_server_and_its_instances_number_gpus_as_nvml_does(
    server: EmbeddedServer, artifacts: Artifacts
) -> None:
    server.serve(artifacts["double"], settings())
    assert len(server.process_ids()) == 2
    for pid in server.process_ids():
        assert b"CUDA_DEVICE_ORDER=PCI_BUS_ID" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def listens(server: EmbeddedServer) -> set[Any]:
    """Where it does, by the kernel's account."""
    return {
        connection.laddr
        for pid in server.process_ids()
        for connection in psutil.Process(pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    }


def test_server_listens_on_loopback_only(server: EmbeddedServer, artifacts: Artifacts) -> None:
    server.serve(artifacts["double"], settings())
    # The model is ready a moment before the page of metrics is, on a busy machine.
    give_up = time.monotonic() + 10
    while len(listening := listens(server)) < 3 and time.monotonic() < give_up:
        time.sleep(0.02)
    assert {address.port for address in listening} == {
        server.http_port,
        server.grpc_port,
        server.metrics_port,
    }
    # gRPC opens an IPv6 socket and binds the IPv4 loopback with it.
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_response_cache_answers_without_executing(places: tuple[Path, Path], artifacts: Artifacts) -> None:
    with EmbeddedServer(*places) as cached:
        name = cached.serve(artifacts["double"], settings(response_cache=True))
        before = cached.statistics(name)
        for _ in range(4):
            infer(cached, name, {"x": floats(2, 3)})
        figures = difference(before, cached.statistics(name))
    assert (figures.requests, figures.cache_hits, figures.executions) == (4, 3, 1)


def test_inputs_and_outputs_left_out_of_the_configuration_come_from_the_file(
    places: tuple[Path, Path], artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = repository.model_config
    monkeypatch.setattr(
        repository, "model_config", lambda *a, **k: plain(*a, **k) | {"input": [], "output": []}
    )
    with EmbeddedServer(*places, auto_complete=True) as completing:
        name = completing.serve(artifacts["slow"], settings())
        config = completing.control.model_config(name)
        feed = {"x": floats(2, 3)}
        assert infer(completing, name, feed)["y"] == pytest.approx(feed["x"], abs=1e-5)
    assert [(t["name"], t["data_type"], t["dims"]) for t in config["input"]] == [("x", "TYPE_FP32", [-1])]
    assert [(t["name"], t["data_type"], t["dims"]) for t in config["output"]] == [("y", "TYPE_FP32", [-1])]
