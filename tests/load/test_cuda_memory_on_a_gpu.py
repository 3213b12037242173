"""Requests whose tensors are in the memory of a real GPU."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http

from harness.load.coordinator.driver import drive
from harness.load.job import Job
from harness.load.shared_memory.cuda_driver import DeviceMemory
from harness.load.shared_memory.cuda_memory import CudaMemory
from harness.load.shared_memory.region_control import RegionControl
from harness.load.shared_memory.regions import SharedMemory
from harness.load.spools import read_spool
from harness.schema.load import PointLoad
from harness.schema.samples import Status
from harness.schema.scenario import Protocol
from harness.schema.tensors import Tensors
from harness.triton.embedded import EmbeddedServer
from tests.load.test_drive import point
from tests.load.test_shared_memory import both, files, target, wire_answer
from tests.triton import models

pytestmark = [pytest.mark.gpu, pytest.mark.triton]


def cuda_registered(triton: EmbeddedServer) -> set[str]:
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{triton.http_port}")
    return {each["name"] for each in client.get_cuda_shared_memory_status(headers=dict(triton.access))}


def test_what_is_written_is_read_back() -> None:
    content = np.random.default_rng(1).integers(0, 256, 5_000_000, np.uint8)
    memory = DeviceMemory(0, content.nbytes)
    try:
        memory.write(0, memoryview(content.tobytes()))
        memory.write(777, memoryview(b"here"))
        content[777:781] = np.frombuffer(b"here", np.uint8)
        assert memory.read(0, content.nbytes) == content.tobytes()
        assert len(memory.handle()) == 64 and memory.handle() != bytes(64)
    finally:
        memory.close()


@both
def test_answers_over_cuda_shared_memory_are_those_of_the_wire(
    triton: EmbeddedServer, protocol: Protocol
) -> None:
    rng = np.random.default_rng(2)
    variants: list[Tensors] = [{"X": rng.random((2, 100_000), np.float32)} for _ in range(3)]
    at = target(triton, protocol)
    with SharedMemory(at, [variants], ["Y"], 2, CudaMemory) as memory:
        assert len(cuda_registered(triton)) == 2
        connection = at.endpoint.open()
        for slot in range(2):
            for variant, inputs in enumerate(variants):
                reply = connection.call(memory.prepared[slot][0][variant])
                assert (reply.status, reply.reason) == (Status.OK, None)
                answer = wire_answer(at, inputs, ["Y"])["Y"].tobytes()
                assert memory.output(slot, "Y") == answer == inputs["X"].tobytes()
                assert reply.sent_bytes < 1_000 and reply.received_bytes < 1_000
        connection.close()
    assert not cuda_registered(triton) and not files()


@both
def test_a_model_there_answers_as_over_the_wire(tmp_path: Path, protocol: Protocol) -> None:
    rng = np.random.default_rng(4)
    variants: list[Tensors] = [{"x": rng.random((3, 1_000), np.float32)} for _ in range(3)]
    with EmbeddedServer(tmp_path / "repository", tmp_path / "triton.log", gpu=True) as server:
        name = server.serve(models.double(tmp_path), models.settings(kind="gpu"))
        at = target(server, protocol, name)
        with SharedMemory(at, [variants], ["y"], 2, CudaMemory) as memory:
            connection = at.endpoint.open()
            for slot in range(2):
                for variant, inputs in enumerate(variants):
                    reply = connection.call(memory.prepared[slot][0][variant])
                    assert (reply.status, reply.reason) == (Status.OK, None)
                    answer = wire_answer(at, inputs, ["y"])["y"].tobytes()
                    assert memory.output(slot, "y") == answer == (inputs["x"] * 2).tobytes()
            connection.close()
        assert RegionControl(at.endpoint.host, at.http_port).gpu_of(name) == 0
        assert not cuda_registered(server)


@both
def test_a_whole_drive_goes_through_cuda_shared_memory(
    triton: EmbeddedServer, tmp_path: Path, protocol: Protocol
) -> None:
    what = point(protocol, PointLoad(concurrency=4), warmup_s=0.3, duration_s=2.0)
    what = what.model_copy(update={"shared_memory": "cuda"})
    payloads: dict[str, list[Tensors]] = {
        name: [{"X": np.full((1, 100_000), v, np.float32)} for v in range(2)] for name in ("short", "long")
    }
    where = (target(triton, protocol).endpoint, tmp_path / "load", tmp_path)
    outcome = drive(
        Job(what, "echo", payloads, ["Y"], *where, http_port=triton.http_port, access=triton.access)
    )
    requests, reasons = read_spool(tmp_path / "load")
    assert outcome.ended is None and len(requests) > 50 and not reasons
    assert (requests["status"] == Status.OK).all()
    assert not cuda_registered(triton) and not files()


def test_a_handle_of_nothing_is_refused_and_the_server_lives(triton: EmbeddedServer) -> None:
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{triton.http_port}")
    with pytest.raises(Exception, match="failed to"):
        client.register_cuda_shared_memory("nothing", b64encode(bytes(64)).decode(), 0, 64)
    assert triton.control.ready(5)
