"""A run whose server, probe and load processes are reached over IPv6, by addresses as people give them."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from harness.address import Address, is_here
from tests.e2e.conftest import AS_TINY, ONE, Workplace, ended, valid
from tests.ports import free_port

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(not is_here("::1"), reason="this machine has no IPv6 on loopback"),
]

SCENARIO = ONE + "protocol: [http, grpc]\n"


@contextmanager
def six(port: int) -> Iterator[int]:
    """A port of ::1 whose connections go to that port of 127.0.0.1: Triton itself listens on IPv4 here."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener, ExitStack() as ends:

        def accept() -> None:
            with suppress(OSError):  # the listener is closed
                while True:
                    came, _ = listener.accept()
                    to = ends.enter_context(socket.create_connection(("127.0.0.1", port)))
                    for source, sink in ((ends.enter_context(came), to), (to, came)):
                        threading.Thread(target=carry, args=(source, sink), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield int(listener.getsockname()[1])
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def carry(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def served(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Address, int]]:
    """The model behind a Triton on ::1: its HTTP endpoint, and the port of its gRPC endpoint."""
    workplace = Workplace(tmp_path_factory.mktemp("served"))
    shutil.copy(tiny_model, workplace.path / "double.onnx")
    ports = ("--http-port", "0", "--grpc-port", "0")
    serving = workplace.start("serve", "double.onnx", *AS_TINY, *ports, "--for-s", "900", "--json")
    assert serving.stdout is not None
    at = json.loads(serving.stdout.readline())
    http, grpc = (int(at[each].rpartition(":")[2]) for each in ("http", "grpc"))
    with six(http) as http_port, six(grpc) as grpc_port:
        yield Address("::1", http_port), grpc_port
    serving.terminate()
    serving.communicate(timeout=30)


def test_a_server_and_a_probe_on_ipv6_are_measured(workplace: Workplace, served: tuple[Address, int]) -> None:
    server, grpc_port = served
    probe = workplace.start("probe", "--serve", "[::1]:0")
    assert probe.stderr is not None
    ready = re.search(r"ready at (\[::1\]:\d+):", probe.stderr.readline())
    assert ready is not None
    options = ("--url", f"http://{server}", "--grpc-port", str(grpc_port), "--probe", ready[1], "--json")
    done = workplace.run("run", workplace.scenario(SCENARIO), *options)
    probe.kill()
    probe.communicate()
    document = valid(done)
    assert f"at {server}" in done.stderr
    assert document["environment"]["server_url"] == f"http://{server}"
    assert [point["point"]["protocol"] for point in document["points"]] == ["http", "grpc"]
    for point in document["points"]:
        assert point["requests"] > 20 and point["errors"] == 0, point
        assert "probe" not in " ".join(point["reasons"]), point["reasons"]
        assert point["server"]["requests"] == point["requests"]


def test_load_processes_come_over_ipv6(workplace: Workplace, served: tuple[Address, int]) -> None:
    server, grpc_port = served
    at = Address("::1", free_port("::1"))
    worker = workplace.start("worker", "--master", str(at), "--once")
    assert worker.stderr is not None and f"waiting for a run at {at};" in worker.stderr.readline()
    options = ("--url", f"http://{server}", "--grpc-port", str(grpc_port), "--listen", str(at), "--json")
    done = workplace.run("run", workplace.scenario(SCENARIO), *options, "--set", "protocol=grpc")
    assert f"harness worker --master {at}" in done.stderr
    (point,) = valid(done)["points"]
    assert point["requests"] > 20 and point["errors"] == 0, point
    assert [p["host"] for p in point["load_processes"]] == [socket.gethostname()]
    assert ended(worker).code == 0
