"""The port for load processes of other machines: strangers take places from each other only."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.ports import free_port

PROGRAM = """
import sys
import gevent
from gevent import socket
from harness.load.distributed.front_door import FrontDoor

inside = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
inside.bind(sys.argv[1])
inside.listen(500)
FrontDoor("127.0.0.1", int(sys.argv[2]), sys.argv[1], of=1)
print("ready", flush=True)

def serve(connection):
    connection.sendall(b"g" * 64)
    while (got := connection.recv(100)):
        if got.startswith(b"secret"):
            connection.sendall(b"answer")

while True:
    gevent.spawn(serve, inside.accept()[0])
"""


@pytest.fixture
def door(tmp_path: Path) -> Iterator[tuple[psutil.Process, int]]:
    port = free_port()
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "inside"), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        yield psutil.Process(process.pid), port
        process.kill()


def connected(port: int, source: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 5, source_address=(source, 0))
    connection.settimeout(5)
    return connection


def answered(connection: socket.socket) -> bool:
    """Whether somebody who knows the secret gets an answer."""
    got = b""
    with suppress(OSError):
        connection.sendall(b"secret")
        while not got.endswith(b"answer"):
            piece = connection.recv(100)
            if not piece:
                return False
            got += piece
    return got.endswith(b"answer")


def test_strangers_leave_for_newcomers_and_a_load_process_stays(door: tuple[psutil.Process, int]) -> None:
    process, port = door
    honest = connected(port, "127.0.0.1")
    assert answered(honest)
    strangers = [connected(port, "127.0.0.2") for _ in range(200)]
    time.sleep(0.5)
    assert process.num_fds() < 3 * 40 + 30, "an address has its share"
    strangers += [connected(port, f"127.1.{number // 200}.{1 + number % 200}") for number in range(400)]
    time.sleep(0.5)
    assert process.num_fds() < 3 * 256 + 30
    late = connected(port, "127.0.0.1")
    assert answered(late) and answered(honest)
    for connection in (*strangers, honest, late):
        connection.close()
    give_up = time.monotonic() + 10
    while process.num_fds() > 30 and time.monotonic() < give_up:
        time.sleep(0.1)
    assert process.num_fds() <= 30, "what has ended is let go"
