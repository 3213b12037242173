"""Runs that prepare more than themselves: CUDA graphs and TensorRT's engines, as far as a CPU shows them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.schema.model import ModelArtifact
from tests.triton.clients import floats
from tests.triton.direct import HERE, Recorded, answers, instance, options, with_graphs

Artifacts = dict[str, ModelArtifact]


def test_each_shape_gets_a_graph_of_its_own_and_replays_it(backend: Any, artifacts: Artifacts) -> None:
    model = with_graphs(backend, artifacts["double"])
    model.runner.session = session = Recorded(model.session)
    for seed, shape in enumerate([(1, 3), (2, 3), (1, 3), (2, 3)]):
        x = floats(*shape, seed)
        (found,) = answers(backend, model, [{"x": x}])
        assert np.array_equal(found["y"], x + x)
    assert session.graph_ids == ["-1", "1", "-1", "2", "1", "2"]


def test_answers_of_one_graph_do_not_overwrite_each_other_on_the_device(
    backend: Any, artifacts: Artifacts
) -> None:
    model = with_graphs(backend, artifacts["double"])
    memory = backend.device_memory.Memory
    kept = []
    for seed in (1, 2):
        x = floats(2, 3, seed)
        feed = {"x": memory(x.ctypes.data, x.shape, x.dtype, HERE, x)}
        kept.append((x, model.runner.run([feed], ["y"])["y"]))
    for x, y in kept:
        assert np.array_equal(y.owner.numpy(), x + x)


def test_shapes_beyond_the_most_run_without_a_graph_and_the_log_says_so_once(
    backend: Any, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.ort_run, "MOST_GRAPHS", 2)
    monkeypatch.setattr(backend.pb.Logger, "said", [])
    model = with_graphs(backend, artifacts["double"])
    for columns in (1, 2, 3, 4, 3, 1):
        x = floats(2, columns)
        for device in ([], [0]):
            (found,) = answers(backend, model, [{"x": x}], device=device)
            assert np.array_equal(found["y"], x + x)
    assert len(model.runner.graphs) == 2
    (said,) = backend.pb.Logger.said
    assert "(2, 3)" in said and "2 shapes have one" in said


def test_tensorrt_sees_the_extreme_batches_of_a_shape_before_its_first_request(
    backend: Any, artifacts: Artifacts
) -> None:
    model = instance(backend, artifacts["double"])
    session = Recorded(model.session)
    model.runner = backend.ort_run.TensorrtRunner(session, options(backend), HERE, 8)
    for columns in (3, 3, 5):
        x = floats(2, columns)
        (found,) = answers(backend, model, [{"x": x}])
        assert np.array_equal(found["y"], x + x)
    assert session.shapes == [(8, 3), (1, 3), (2, 3), (2, 3), (8, 5), (1, 5), (2, 5)]


def test_runner_is_chosen_by_the_configuration(backend: Any) -> None:
    def chosen(kind: str, providers: list[str], config: dict[str, Any]) -> str:
        session = SimpleNamespace(get_providers=lambda: providers, get_inputs=list, get_outputs=list)
        return type(backend.model.runner(session, {"max_batch_size": 8, **config}, kind, 0)).__name__

    cuda, tensorrt = "CUDAExecutionProvider", "TensorrtExecutionProvider"
    assert chosen("CPU", ["CPUExecutionProvider"], {}) == "HostRunner"
    assert chosen("GPU", [cuda, "CPUExecutionProvider"], {}) == "DeviceRunner"
    assert chosen("GPU", [cuda], {"optimization": {"cuda": {"graphs": True}}}) == "GraphRunner"
    assert chosen("GPU", [tensorrt, cuda], {}) == "TensorrtRunner"
