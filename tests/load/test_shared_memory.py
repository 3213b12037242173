"""Requests whose tensors are in system shared memory, against the real Triton."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http

from harness import ownership
from harness.load.coordinator.driver import drive
from harness.load.endpoint import Endpoint
from harness.load.job import Job
from harness.load.shared_memory import regions as shared_memory
from harness.load.shared_memory.regions import SharedMemory, Target
from harness.load.shared_memory.system_memory import SystemMemory
from harness.load.spools import read_spool
from harness.schema.errors import HarnessError, InputError, ServerError
from harness.schema.load import PointLoad
from harness.schema.samples import Status
from harness.schema.scenario import Protocol
from harness.schema.tensors import Tensors
from harness.triton.embedded import EmbeddedServer
from tests.load.shared_fork_server import shared_fork_server
from tests.load.test_drive import point
from tests.load.test_wires_on_triton import values
from tests.load.triton_models import TYPES

pytestmark = pytest.mark.triton
both = pytest.mark.parametrize("protocol", ["http", "grpc"])


def target(
    triton: EmbeddedServer, protocol: Protocol, model: str = "echo", host: str = "127.0.0.1"
) -> Target:
    port = triton.http_port if protocol == "http" else triton.grpc_port
    endpoint = Endpoint(protocol=protocol, host=host, port=port, timeout_s=20)
    return Target(endpoint, model, triton.http_port, triton.access)


def registered(triton: EmbeddedServer) -> set[str]:
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{triton.http_port}")
    return {each["name"] for each in client.get_system_shared_memory_status(headers=dict(triton.access))}


def files(pid: int | None = None) -> set[str]:
    """The regions that a process has made, this one if no other is named."""
    return {path.name for path in Path("/dev/shm").glob(f"harness_load_*_{pid or os.getpid()}_*")}


def wire_answer(at: Target, inputs: Tensors, outputs: list[str]) -> Tensors:
    """The same request's answer as it comes over the wire."""
    connection = at.endpoint.open()
    reply = connection.call(at.endpoint.prepare(at.model, inputs, outputs), keep_body=True)
    answer = connection.decode(reply)
    connection.close()
    return answer


@both
@pytest.mark.parametrize("outputs", [["Y"], []], ids=["named", "all"])
def test_answers_in_the_region_are_those_of_the_wire_byte_for_byte(
    triton: EmbeddedServer, protocol: Protocol, outputs: list[str]
) -> None:
    rng = np.random.default_rng(2)
    classes: list[list[Tensors]] = [
        [{"X": rng.random((2, 5), np.float32)} for _ in range(3)],
        [{"X": rng.random((1, 40_000), np.float32)} for _ in range(2)],
    ]
    at = target(triton, protocol)
    with SharedMemory(at, classes, outputs, slots=3) as memory:
        connection = at.endpoint.open()
        for kind, variants in enumerate(classes):
            for slot in range(3):
                for variant, inputs in enumerate(variants):
                    reply = connection.call(memory.prepared[slot][kind][variant], keep_body=True)
                    assert (reply.status, reply.reason) == (Status.OK, None)
                    raw = inputs["X"].tobytes()
                    assert memory.output(slot, "Y")[: len(raw)] == raw
                    assert wire_answer(at, inputs, outputs)["Y"].tobytes() == raw
                    assert reply.sent_bytes < 1_000 and reply.received_bytes < 1_000
        connection.close()
    assert not files() and not registered(triton)


@both
def test_slots_keep_their_answers_apart(triton: EmbeddedServer, protocol: Protocol) -> None:
    at = target(triton, protocol)
    variants: list[Tensors] = [{"X": np.full((1, 6), v, np.float32)} for v in range(4)]
    with SharedMemory(at, [variants], ["Y"], slots=4) as memory:
        connection = at.endpoint.open()
        for slot in range(4):
            assert connection.call(memory.prepared[slot][0][slot]).status is Status.OK
        for slot in range(4):
            assert memory.output(slot, "Y") == variants[slot]["X"].tobytes()
        connection.close()


@both
def test_every_data_type_goes_through_shared_memory(triton: EmbeddedServer, protocol: Protocol) -> None:
    at = target(triton, protocol, "types")
    inputs = {name: values(name) for name in TYPES}
    with SharedMemory(at, [[inputs]], TYPES, slots=1) as memory:
        connection = at.endpoint.open()
        reply = connection.call(memory.prepared[0][0][0])
        connection.close()
        assert (reply.status, reply.reason) == (Status.OK, None)
        for name in TYPES:
            assert memory.output(0, name) == inputs[name].tobytes()


def test_strings_are_laid_out_as_triton_wants_them() -> None:
    raw = bytes(shared_memory._raw(np.array([[b"", b"ab\0"]], dtype=object)))
    assert raw == b"\0\0\0\0" + b"\3\0\0\0ab\0"


def test_another_machine_is_refused_before_anything_is_made(triton: EmbeddedServer) -> None:
    before = files()
    at = target(triton, "http", host="192.0.2.1")
    with pytest.raises(InputError, match=r"another machine.*memory: none"), SharedMemory(at, [], [], 1):
        pass
    assert files() == before


def test_whatever_ends_the_block_nothing_is_left(triton: EmbeddedServer) -> None:
    at = target(triton, "http")
    inputs: Tensors = {"X": np.ones((1, 2), np.float32)}
    with pytest.raises(ZeroDivisionError), SharedMemory(at, [[inputs]], ["Y"], 2):
        assert len(files()) == 2 == len(registered(triton))
        raise ZeroDivisionError
    assert not files() and not registered(triton)
    wrong: Tensors = {"WRONG": np.ones((1, 2), np.float32)}
    with (
        pytest.raises(ServerError, match=r"did not answer.*WRONG"),
        SharedMemory(at, [[wrong]], ["Y"], 2),
    ):
        pass
    assert not files() and not registered(triton)


def test_a_server_that_does_not_see_our_memory_is_an_error_with_the_remedy(
    triton: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ownership, "SHARED_MEMORY", tmp_path)  # as in a container of its own
    at = target(triton, "grpc")
    inputs: Tensors = {"X": np.ones((1, 2), np.float32)}
    with pytest.raises(InputError, match="--ipc=host"), SharedMemory(at, [[inputs]], ["Y"], 1):
        pass
    assert not list(tmp_path.iterdir())


def test_no_room_is_said_and_not_a_crash() -> None:
    free = os.statvfs("/dev/shm")
    before = files()
    with pytest.raises(HarnessError, match=r"has no room for .* MB .*--shm-size"):
        SystemMemory(free.f_bavail * free.f_frsize + (1 << 30))
    assert files() == before


@pytest.mark.alone  # every drive sweeps what the dead left, and so would a neighbour's
def test_regions_of_a_killed_process_are_swept_and_those_of_a_living_one_are_not() -> None:
    code = (
        "import time; from harness.load.shared_memory.system_memory import SystemMemory\n"
        "region = SystemMemory(1000)\n"
        "print(region.name, flush=True)\n"
        "time.sleep(60)"
    )
    process: Any = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        name = process.stdout.readline().strip()
        assert {name} == files(process.pid)
        assert name not in ownership.sweep("load") and name in files(process.pid)
        process.kill()
        process.wait()
        assert name in files(process.pid), "a killed process leaves it"
        assert name in ownership.sweep("load")
        assert not files(process.pid)
    finally:
        process.kill()
        process.wait()


def test_a_server_that_dies_in_the_block_is_left_in_peace(tmp_path: Path) -> None:
    from tests.load.triton_models import tiny_triton

    with tiny_triton(tmp_path) as server:
        inputs: Tensors = {"X": np.ones((1, 2), np.float32)}
        began = time.monotonic()
        with SharedMemory(target(server, "http"), [[inputs]], ["Y"], 2):
            for pid in server.process_ids():
                os.kill(pid, 9)
        assert not files() and time.monotonic() - began < 30


def test_what_others_put_among_the_regions_is_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("kept")
    orphan = f"harness_load_{ownership._namespace()}_{os.getpid()}_1_0123456789ab_"  # our pid, not our start
    assert ownership.orphaned(orphan)
    link, pipe = (ownership.SHARED_MEMORY / f"{orphan}{name}" for name in ("link", "pipe"))
    try:
        link.symlink_to(theirs)
        os.mkfifo(pipe)
        assert not {link.name, pipe.name} & set(ownership.sweep("load"))
        assert link.is_symlink() and pipe.exists() and theirs.read_text() == "kept"
    finally:
        link.unlink()
        pipe.unlink()


@both
@pytest.mark.parametrize(
    "load",
    [PointLoad(concurrency=3), PointLoad(concurrency=4, workers=2), PointLoad(rate_per_s=200)],
    ids=str,
)
def test_a_whole_drive_goes_through_shared_memory(
    triton: EmbeddedServer, tmp_path: Path, protocol: Protocol, load: PointLoad
) -> None:
    what = point(protocol, load, warmup_s=0.3, duration_s=1.0).model_copy(update={"shared_memory": "system"})
    at = target(triton, protocol)
    large: dict[str, list[Tensors]] = {
        name: [{"X": np.full((1, 100_000), v, np.float32)} for v in range(2)] for name in ("short", "long")
    }
    where = (at.endpoint, tmp_path / "load", tmp_path)
    job = Job(what, "echo", large, ["Y"], *where, http_port=at.http_port, access=triton.access)
    held: list[int] = []
    outcome = drive(job, fork_server=shared_fork_server(), between=lambda: held.append(len(files())))
    assert outcome.ended is None and held == [2]
    requests, reasons = read_spool(job.folder)
    assert len(requests) > 50 and not reasons
    assert (requests["status"] == Status.OK).all()
    assert requests["sent_bytes"].max() < 1_000 and requests["received_bytes"].max() < 1_000
    assert not files() and not registered(triton)
