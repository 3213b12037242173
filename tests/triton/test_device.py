"""The ways of the backend that keep tensors on a device, on one that is the host's own memory.

What a GPU has in another way than the host (its allocations, its copies) is ONNX Runtime's; every line of
the backend runs here, and its answers are compared bit for bit with those of the plain way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.schema.model import ModelArtifact
from harness.schema.tensors import NUMPY
from harness.triton import install
from harness.triton.embedded import EmbeddedServer
from harness.triton.install import BACKEND_SOURCE
from tests.triton.clients import floats, infer, infer_together
from tests.triton.direct import HERE, answers, instance, nothing_is_lent, on_device, same, with_graphs
from tests.triton.models import settings

Artifacts = dict[str, ModelArtifact]


@pytest.mark.parametrize("make", [on_device, with_graphs])
@pytest.mark.parametrize("rows", [[1], [3], [1, 2, 5], [0], [2, 0, 1]])
def test_every_type_is_the_same_from_a_device_as_from_the_host(
    backend: Any, artifacts: Artifacts, make: Any, rows: list[int]
) -> None:
    rng = np.random.default_rng(5)
    feeds = []
    for count in rows:
        feed = {f"x{name}": (rng.random((count, 3)) * 100).astype(dtype) for name, dtype in NUMPY.items()}
        feeds.append({**feed, "xBOOL": rng.integers(0, 2, (count, 3)).astype(bool)})
    expected = answers(backend, instance(backend, artifacts["every_type"]), feeds)
    model = make(backend, artifacts["every_type"])
    for device in (range(len(rows)), [0], []):
        assert same(answers(backend, model, feeds, device=device), expected)
    assert nothing_is_lent(backend)


@given(
    shapes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=5),
    graphs=st.booleans(),
    where=st.integers(0, 31),
    wanted=st.sampled_from([["y"], ["rows"], ["y", "rows"]]),
)
def test_any_batch_of_any_shapes_is_answered_as_on_the_host(
    backend: Any,
    artifacts: Artifacts,
    shapes: list[tuple[int, int]],
    graphs: bool,
    where: int,
    wanted: list[str],
) -> None:
    feeds = [{"x": floats(*shape, seed)} for seed, shape in enumerate(shapes)]
    expected = answers(backend, instance(backend, artifacts["double"]), feeds, wanted=wanted)
    model = (with_graphs if graphs else on_device)(backend, artifacts["double"])
    device = [index for index in range(len(shapes)) if where >> index & 1]
    assert same(answers(backend, model, feeds, device=device, wanted=wanted), expected)


@pytest.mark.parametrize("make", [on_device, with_graphs])
def test_run_that_fails_on_a_device_answers_its_requests_and_no_other(
    backend: Any, artifacts: Artifacts, make: Any
) -> None:
    model = make(backend, artifacts["reshaper"])
    feeds = [{"x": floats(1, 5)}, {"x": floats(2, 4)}, {"x": floats(1, 8)}]
    bad, good, uneven = answers(backend, model, feeds, device=[0, 1, 2])
    assert "Reshape" in bad
    assert good["y"].tobytes() == feeds[1]["x"].tobytes()
    assert "2 rows for a batch of 1" in uneven
    with pytest.raises(Exception, match="Reshape"):
        answers(backend, model, feeds[:1], device=[0])
    assert nothing_is_lent(backend)


def test_tensor_on_the_device_is_read_where_it_is_and_the_answer_stays_there(
    backend: Any, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Any] = []
    monkeypatch.setattr(backend.device_memory.Memory, "fill", lambda *copy: copied.append(copy))
    memory = backend.device_memory.Memory
    model = on_device(backend, artifacts["double"])
    tensor = backend.pb.Tensor("x", floats(2, 3), on_device=True)
    found = model.runner.run([{"x": memory.of_triton(tensor)}], ["y"])
    assert isinstance(found["y"], memory)
    assert found["y"].device == HERE
    assert not copied
    assert memory.of_triton(tensor).address == tensor.array.ctypes.data


def test_tensor_of_another_device_is_copied_to_this_one(backend: Any, artifacts: Artifacts) -> None:
    model = on_device(backend, artifacts["double"])
    x = floats(2, 3)
    elsewhere = backend.device_memory.Memory(x.ctypes.data, x.shape, x.dtype, ("cpu", 1), x)
    here = backend.device_memory.Memory(x.ctypes.data, x.shape, x.dtype, HERE, x)
    elsewhere._as_bytes = here._as_bytes
    bound: list[tuple[str, Any]] = []
    kept = model.runner.bind(
        SimpleNamespace(bind_ortvalue_input=lambda *given: bound.append(given)), "x", [elsewhere]
    )
    ((name, value),) = bound
    assert name == "x"
    assert kept.owner is value
    assert value.numpy().tobytes() == x.tobytes()
    assert value.data_ptr() != x.ctypes.data


def test_rows_of_a_memory_are_those_of_the_array(backend: Any) -> None:
    array = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    memory = backend.device_memory.Memory(array.ctypes.data, array.shape, array.dtype, HERE, array)
    part = backend.pb.Tensor.from_dlpack("part", memory[1:3].capsule())
    assert np.array_equal(part.array, array[1:3])
    del part
    assert nothing_is_lent(backend)


def test_capsule_that_nobody_takes_frees_what_it_lent(backend: Any) -> None:
    array = np.zeros(3)
    memory = backend.device_memory.Memory(array.ctypes.data, array.shape, array.dtype, HERE, array)
    before = sys.getrefcount(array)
    capsule = memory.capsule()
    assert sys.getrefcount(array) == before + 1
    del capsule
    assert sys.getrefcount(array) == before


@pytest.fixture(scope="module")
def device_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """The real Triton with a backend that takes every tensor of the host for one on a device."""
    folder = tmp_path_factory.mktemp("device")
    source = folder / "backend"
    source.mkdir()
    for path in BACKEND_SOURCE.glob("*.py"):
        (source / path.name).write_bytes(path.read_bytes())
    text = (source / "model.py").read_text()
    for plain, device in (
        (
            "return HostRunner(session, options)",
            "pb_utils.Logger.log_info(f\"{config['name']} as on a device\")\n"
            '        return DeviceRunner(session, options, ("cpu", 0))',
        ),
        ("np.from_dlpack(tensor) if tensor.is_cpu() else Memory", "Memory"),
    ):
        assert text.count(plain) == 1
        text = text.replace(plain, device)
    (source / "model.py").write_text(text)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(install, "BACKEND_SOURCE", source)
        with EmbeddedServer(folder / "repository", folder / "triton.log") as running:
            yield running


@pytest.mark.triton
@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (8, 1000), (2, 0)])
def test_real_triton_gives_and_takes_memory_of_every_type(
    device_server: EmbeddedServer, artifacts: Artifacts, shape: tuple[int, int]
) -> None:
    device_server.serve(artifacts["every_type"], settings())
    rng = np.random.default_rng(3)
    feeds = {f"x{name}": (rng.random(shape) * 100).astype(dtype) for name, dtype in NUMPY.items()}
    feeds["xBOOL"] = rng.integers(0, 2, shape).astype(bool)
    served = infer(device_server, "every_type", feeds)
    for name in NUMPY:
        assert np.array_equal(served[f"y{name}"], feeds[f"x{name}"]), name
        assert served[f"y{name}"].dtype == NUMPY[name]
    assert "every_type as on a device" in device_server.log.read_text()  # so the log reaches the server's


@pytest.mark.triton
def test_real_triton_batches_memory_and_its_stub_does_not_grow(
    device_server: EmbeddedServer, artifacts: Artifacts
) -> None:
    name = device_server.serve(artifacts["double"], settings(max_batch=16, queue_delay_us=50_000))
    feeds = [{"x": floats(rows, 50_000, seed)} for seed, rows in enumerate([1, 2, 3, 1, 4, 5])]
    processes = [psutil.Process(pid) for pid in device_server.process_ids()[1:]]
    (stub,) = [process for process in processes if "stub" in process.exe()]

    def once() -> int:
        for feed, answer in zip(feeds, infer_together(device_server, name, feeds), strict=True):
            assert np.array_equal(answer["y"], feed["x"] * 2)
        return int(stub.memory_info().rss)

    for _ in range(3):
        before = once()
    for _ in range(15):
        after = once()
    # Each round moves 3.2 MB in and as much out: what it kept of either would be 48 MB by now.
    assert after - before < 24_000_000
