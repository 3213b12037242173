"""Requests whose tensors are in CUDA shared memory, over a double of the driver."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.load.endpoint import Endpoint
from harness.load.shared_memory.cuda_memory import CudaMemory
from harness.load.shared_memory.region_control import RegionControl
from harness.load.shared_memory.regions import SharedMemory, Target
from harness.schema.errors import InputError, ServerError
from harness.schema.scenario import Protocol
from harness.triton.embedded import EmbeddedServer
from tests.load.cuda import CudaDouble, cuda_double, cuda_library, translating
from tests.load.rogue import rogue_server
from tests.load.test_shared_memory import both, files, registered, target

__all__ = ["cuda_double", "cuda_library"]

pytestmark = pytest.mark.triton


def test_what_is_written_is_what_another_process_finds_behind_the_handle(cuda_double: CudaDouble) -> None:
    found = cuda_double.run("written")
    expected = bytearray(3_000)
    expected[:6] = b"begins"
    expected[1_000:1_036] = np.arange(9, dtype=np.int32).tobytes()
    expected[-4:] = b"ends"
    there = bytes.fromhex(found["there"])
    assert there[:3_000] == expected == bytes.fromhex(found["read"])
    assert len(there) == 2 << 20, "a page is what another process gets to map"
    assert cuda_double.kept() == (0, 0)


@both
def test_answers_in_gpu_memory_are_the_payloads_and_the_wire_carries_names_only(
    triton: EmbeddedServer, cuda_double: CudaDouble, protocol: Protocol
) -> None:
    port = target(triton, protocol).endpoint.port
    with translating(triton) as heard:
        found = cuda_double.run("echoes", "gpus=2", protocol=protocol, port=port, http_port=heard.port)
    prepared, cuda, system = found["sizes"]
    assert prepared[0] == prepared[1] < 1_000, "not a byte more than with system shared memory"
    assert cuda == system
    assert (found["held"], found["left"]) == (2, 0)
    assert [set(body) for body in heard.bodies] == [{"raw_handle", "device_id", "byte_size"}] * 2
    assert [body["device_id"] for body in heard.bodies] == [1, 1] == heard.gpus
    # Five payloads, each there once, and room for three slots' answers.
    assert [int(size) for _, size in cuda_double.calls("copy")] == [40, 40, 40, 160_000, 160_000]
    assert [body["byte_size"] for body in heard.bodies] == [3 * 256 + 2 * 160_000, 3 * 160_000]
    assert cuda_double.kept() == (0, 0) and not registered(triton)


@both
def test_every_data_type_goes_through_gpu_memory(
    triton: EmbeddedServer, cuda_double: CudaDouble, protocol: Protocol
) -> None:
    with translating(triton) as heard:
        port = target(triton, protocol).endpoint.port
        cuda_double.run("types", protocol=protocol, port=port, http_port=heard.port)
    assert cuda_double.kept() == (0, 0) and not registered(triton)


@pytest.mark.parametrize(
    ("protocol", "load"),
    [("http", {"concurrency": 3}), ("grpc", {"rate_per_s": 200, "workers": 2})],
    ids=["closed", "open"],
)
def test_a_whole_drive_goes_through_gpu_memory(
    triton: EmbeddedServer, cuda_double: CudaDouble, tmp_path: Path, protocol: Protocol, load: dict[str, int]
) -> None:
    port = target(triton, protocol).endpoint.port
    with translating(triton) as heard:
        heard.gpus_of_model = [5, 6]
        arguments = {"port": port, "http_port": heard.port, "folder": str(tmp_path), "load": load}
        found = cuda_double.run("drives", "gpus=3", protocol=protocol, **arguments)
    assert (found["ended"], found["reasons"], found["ok"]) == (None, 0, True)
    assert found["requests"] > 50
    assert found["sent_bytes"] < 1_000 and found["received_bytes"] < 1_000
    assert heard.gpus == [2, 2], "the first of server.gpus"
    assert [body["device_id"] for body in heard.bodies] == [5, 5], "by the number that it has in Triton"
    assert found["left"] == 0 and cuda_double.kept() == (0, 0) and not registered(triton)


CALLS = (
    *("cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDevicePrimaryCtxRetain"),
    *("cuCtxPushCurrent_v2", "cuMemAlloc_v2", "cuIpcGetMemHandle", "cuMemcpyHtoD_v2", "cuCtxSynchronize"),
    "cuCtxPopCurrent_v2",
)


def test_whichever_call_fails_it_is_one_sentence_and_nothing_is_left(
    triton: EmbeddedServer, cuda_double: CudaDouble
) -> None:
    with translating(triton) as heard:
        seen = cuda_double.run(
            "fails",
            port=triton.http_port,
            http_port=heard.port,
            scripts=["", *(f"fail={call}:801" for call in CALLS)],
        )
    assert seen[0] == {"error": None, "left": 0}
    for call, failed in zip(CALLS, seen[1:], strict=True):
        assert (failed["error"], failed["left"]) == ("CudaError", 0), failed
        assert failed["says"] == (
            f"the CUDA driver's {call} failed with CUDA_ERROR_NOT_SUPPORTED (operation not supported): "
            "set `shared_memory: system` or `none`"
        )
    # Without a context nothing can be given back: what one failed push or pop kept goes with the process.
    assert not registered(triton)


@pytest.mark.parametrize("call", ["cuMemAlloc_v2@2", "cuIpcGetMemHandle@2", "cuMemcpyHtoD_v2@3"])
def test_a_failure_in_the_middle_gives_back_what_was_taken(
    triton: EmbeddedServer, cuda_double: CudaDouble, call: str
) -> None:
    with translating(triton) as heard:
        (failed,) = cuda_double.run(
            "fails", port=triton.http_port, http_port=heard.port, scripts=[f"fail={call}:999"]
        )
    assert (failed["error"], failed["left"]) == ("CudaError", 0)
    assert "error 999" in failed["says"] and len(cuda_double.calls("alloc")) >= 1
    assert cuda_double.kept() == (0, 0) and not registered(triton)


@pytest.mark.parametrize("which", [1, 2])
def test_a_server_that_refuses_the_memory_is_an_error_with_the_remedy(
    triton: EmbeddedServer, cuda_double: CudaDouble, which: int
) -> None:
    with translating(triton) as heard:
        heard.fails = which
        (failed,) = cuda_double.run("fails", port=triton.http_port, http_port=heard.port, scripts=[""])
    assert (failed["error"], failed["left"]) == ("InputError", 0)
    for word in ("failed to open CUDA IPC handle", "GPU 0", "--pid=host", "--allow-client-shm", "none`"):
        assert word in failed["says"]
    assert cuda_double.kept() == (0, 0) and not registered(triton)


def test_the_real_triton_refuses_a_handle_of_nothing(triton: EmbeddedServer, cuda_double: CudaDouble) -> None:
    at, access = triton.http_port, dict(triton.access)
    (failed,) = cuda_double.run("fails", port=at, http_port=at, scripts=[""], access=access)
    assert failed["error"] == "InputError" and "can't share cuda memory" in failed["says"]
    assert re.search(r"\(failed to register [^{}]*\): let it see GPU 0", failed["says"]), (
        "in Triton's own words"
    )
    assert triton.control.ready(5), "and lives on"
    assert RegionControl("127.0.0.1", triton.http_port).gpu_of("echo") == 0, "its instance is on the CPU"
    assert cuda_double.kept() == (0, 0)


def test_what_can_not_be_had_is_refused_in_a_sentence(cuda_double: CudaDouble) -> None:
    assert re.match(
        r"InputError: `shared_memory: cuda` needs a GPU, and the driver has none.*`system`",
        cuda_double.run("refused", "gpus=0", gpu=0),
    )
    assert re.match(
        r"InputError: there is no GPU 2 here.* CUDA sees 2 .*`server\.gpus`",
        cuda_double.run("refused", "gpus=2", gpu=2),
    )
    assert re.match(
        r"HarnessError: GPU 0 has 9 MB free, and 10 MB of tensors .* fewer requests in flight",
        cuda_double.run("refused", "memory=9000000", gpu=0, megabytes=10),
    )
    assert re.match(
        r"InputError: .*libcuda\.so\.absent can't be loaded here .*or run harness where the GPU is",
        cuda_double.run("no_driver"),
    )
    assert cuda_double.kept() == (0, 0)


@pytest.mark.parametrize(("order", "device"), [(None, "1"), ("FASTEST_FIRST", "0")])
def test_gpus_are_counted_in_the_order_of_the_bus_unless_the_user_says_otherwise(
    cuda_double: CudaDouble, monkeypatch: pytest.MonkeyPatch, order: str | None, device: str
) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    if order is not None:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    cuda_double.run("on_gpu", "gpus=3 fastest=2,0,1", gpu=1)
    assert cuda_double.calls("retain") == [[device]] == cuda_double.calls("release")


def test_another_machine_is_refused_before_the_driver_is_asked() -> None:
    def never(size: int) -> CudaMemory:
        raise AssertionError(size)

    at = Target(Endpoint(protocol="http", host="192.0.2.1", port=8000, timeout_s=1), "echo", 8000)
    with (
        pytest.raises(InputError, match=r"another machine.*memory: none"),
        SharedMemory(at, [], [], 1, never),
    ):
        pass


def test_what_a_killed_harness_left_in_triton_goes_with_the_next_one(
    triton: EmbeddedServer, cuda_double: CudaDouble
) -> None:
    with translating(triton) as heard:
        process = cuda_double.start("waits_to_be_killed", port=triton.http_port, http_port=heard.port)
        try:
            assert process.stdout is not None and process.stdout.readline()
            held = files(process.pid)
            assert len(held) == 2 and registered(triton) == held
        finally:
            process.kill()
            process.communicate()
        assert registered(triton) == held, "Triton doesn't see that its owner died"
        (seen,) = cuda_double.run("fails", port=triton.http_port, http_port=heard.port, scripts=[""])
    assert seen["error"] is None
    assert not registered(triton) and not files(process.pid)


def test_memory_is_given_back_only_when_triton_has_let_go_of_it() -> None:
    """As Triton after 2.51 does it: it says yes to unregister, and knows the region until it is unused."""
    asked: list[str] = []
    alive: list[bool] = []

    class Region(CudaMemory):
        def __init__(self, size: int) -> None:
            self.name, self._handle = "harness_load_test", bytes(64)
            self.size, self._gpu, self._there = size, 0, 0
            alive.append(True)

        def close(self) -> None:
            alive.clear()

    def answer(connection: object) -> None:
        import socket

        assert isinstance(connection, socket.socket)
        said = connection.recv(65536).decode()
        asked.append(f"{said.split()[1].rsplit('/', 1)[1]} {bool(alive)}")
        known = "status" not in asked[-1] or sum("status" in each for each in asked) < 4
        connection.sendall(f"HTTP/1.1 {200 if known else 400} x\r\nContent-Length: 0\r\n\r\n".encode())

    class Asked(SharedMemory):
        def _answered(self) -> dict[str, int]:
            raise ServerError("enough of it")

    with rogue_server(answer) as port:
        at = Target(Endpoint(protocol="http", host="127.0.0.1", port=port, timeout_s=1), "echo", port)
        with pytest.raises(ServerError, match="enough"), Asked(at, [], [], 1, Region):
            pass
    assert asked == ["register True", *["unregister True", "status True"] * 4]
    assert not alive


def test_a_run_without_a_gpu_ends_before_the_model_is_exported(
    cuda_double: CudaDouble, tmp_path: Path
) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(
        "model: minilm\nshared_memory: [none, cuda]\nrequests: [{name: one, tokens: 8}]\n"
        "load: {concurrency: 1}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", str(scenario)],
        env=cuda_double.environment("gpus=0"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "`shared_memory: cuda` needs a GPU" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr and not (tmp_path / "results").exists()
