"""`harness probe --serve` while somebody holds, on loopback, what it can; a run goes on meanwhile."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from harness.probe.service.probe_server import ProbeServer
from harness.probe.service.watches import CHUNK_BYTES, WATCHES_EACH
from harness.probe.watch.remote_watch import START_S, RemoteProbe, RemoteWatch

ATTACK_S = 2.5
HELD = 300
"""Connections that an attacker has open at a time, where they are let."""


@contextmanager
def probing(files: int = 1024, **environment: str) -> Iterator[tuple[psutil.Process, RemoteProbe]]:
    """The real command, which may have so many files open."""
    with subprocess.Popen(
        [sys.executable, "-m", "harness", "probe", "--serve", "0", "--pid", str(os.getpid())],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
    ) as process:
        assert process.stderr is not None
        ready = re.search(r"ready at 127\.0\.0\.1:(\d+)", process.stderr.readline())
        assert ready is not None
        try:
            yield psutil.Process(process.pid), RemoteProbe("127.0.0.1", int(ready[1]))
        finally:
            process.kill()


def connected(address: RemoteProbe, source: str) -> socket.socket:
    return socket.create_connection((address.host, address.port), timeout=2, source_address=(source, 0))


HALF_OPEN = (b"", b"")
ATTACKS = (
    HALF_OPEN,
    (b"GET /v1/clock HTTP/1.1\r\n", b"X-More: " + b"a" * 500 + b"\r\n"),  # a head without end
    (b"GET /v1/clock HTTP/1.1\r\nX: ", b"a"),  # in drips
    (
        b"POST /v1/watches HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n",
        b" ",  # a body that never comes
    ),
)
FLOOD = (b"GET /v1/machine HTTP/1.1\r\n\r\n" * 20, b"GET /v1/clock HTTP/1.1\r\n\r\n")


@contextmanager
def attacked(address: RemoteProbe, kinds: Sequence[tuple[bytes, bytes]], sources: int) -> Iterator[None]:
    """Hold many connections of so many addresses, each with a head sent and a piece after it now and then;
    make new ones for those that were closed, a hundred a second at most."""
    over = threading.Event()

    def attack() -> None:
        held: list[tuple[socket.socket, bytes]] = []
        give_up = time.monotonic() + 10 * ATTACK_S
        turn = 0
        while not over.wait(0.01) and time.monotonic() < give_up:
            turn += 1
            head, piece = kinds[turn % len(kinds)]
            with suppress(OSError):
                connection = connected(address, f"127.0.0.{2 + turn % sources}")
                held.append((connection, piece))
                connection.settimeout(0.01)
                connection.sendall(head)
            for each in held[turn % 10 :: 10]:
                connection, piece = each
                try:
                    connection.settimeout(0.01)
                    connection.sendall(piece)
                    connection.setblocking(False)
                    if connection.recv(4096) == b"":
                        raise OSError("it was closed")
                except BlockingIOError:
                    pass
                except OSError:
                    connection.close()
                    held.remove(each)
            while len(held) > HELD:
                held.pop(0)[0].close()
        for connection, _ in held:
            connection.close()

    thread = threading.Thread(target=attack)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def cpu_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


@pytest.mark.parametrize(
    ("kinds", "sources"),
    [((*ATTACKS, FLOOD), 1), (ATTACKS, 40)],  # questions of forty clients are forty clients' right
    ids=["one address", "forty addresses"],
)
def test_a_run_is_watched_while_an_attacker_holds_what_it_can(
    tmp_path: Path, kinds: Sequence[tuple[bytes, bytes]], sources: int
) -> None:
    with probing() as (process, address):
        with attacked(address, kinds, sources):
            time.sleep(1.0)
            began, cpu, memory = time.monotonic(), cpu_s(process), process.memory_info().rss
            watch = RemoteWatch(address, tmp_path / "spool")
            watch.start()
            time.sleep(ATTACK_S)
            share = (cpu_s(process) - cpu) / (time.monotonic() - began)
            threads, files = process.num_threads(), process.num_fds()
            grown = process.memory_info().rss - memory
            watch.stop()
        seen = watch.seen(set(), set())
    assert not [problem for problem in seen.problems if "stopped" in problem or "gave no" in problem]
    assert len(seen.host or ()) > 5
    assert threads < 160 and files < 200, "what an attacker can hold is bounded"
    assert share < 0.6 and grown < 50e6, "and it takes little from the machine that is measured"


def test_a_probe_without_free_descriptors_waits_instead_of_spinning(tmp_path: Path) -> None:
    with probing(files=40) as (process, address):
        with attacked(address, [HALF_OPEN], sources=40):
            time.sleep(1.0)
            began, cpu = time.monotonic(), cpu_s(process)
            time.sleep(1.5)
            share = (cpu_s(process) - cpu) / (time.monotonic() - began)
        assert share < 0.6
        watch = RemoteWatch(address, tmp_path / "spool")
        watch.start()
        time.sleep(1.0)
        watch.stop()
    assert watch.seen(set(), set()).problems == ()


def test_what_cannot_be_accepted_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []

    def no_descriptor_is_free(_: object) -> None:
        tried.append(time.monotonic())
        raise OSError(errno.EMFILE, "too many open files")

    server = ProbeServer("127.0.0.1", 0)
    with monkeypatch.context() as full:
        full.setattr("socketserver.TCPServer.get_request", no_descriptor_is_free)
        with connected(RemoteProbe("127.0.0.1", server.port), "127.0.0.1"):
            time.sleep(0.8)
    server.close()
    assert 1 <= len(tried) < 20


def begin(address: RemoteProbe, source: str) -> tuple[int, bytes]:
    connection = HTTPConnection(address.host, address.port, timeout=START_S, source_address=(source, 0))
    connection.request("POST", "/v1/watches", b"{}", {"Content-Type": "application/json"})
    answer = connection.getresponse()
    got = answer.status, answer.read()
    connection.close()
    return got


def test_an_attacker_that_begins_watches_locks_nobody_out(tmp_path: Path) -> None:
    with probing() as (_, address):
        got = [begin(address, f"127.0.0.{2 + number % 2}")[0] for number in range(4 * WATCHES_EACH)]
        assert got.count(200) == 2 * WATCHES_EACH and set(got) == {200, 429}
        watch = RemoteWatch(address, tmp_path / "spool")
        watch.start()
        time.sleep(1.0)
        watch.stop()
        assert watch.seen(set(), set()).problems == ()


def test_a_client_cannot_start_processes_as_fast_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.probe.service.watches.AT_ONCE", 1)
    monkeypatch.setattr("harness.probe.service.watches.PER_S", 0.001)  # a busy machine takes 2 s to begin one
    server = ProbeServer("127.0.0.1", 0)
    address = RemoteProbe("127.0.0.1", server.port)
    assert begin(address, "127.0.0.2")[0] == 200
    status, answer = begin(address, "127.0.0.2")
    assert status == 429 and "too many watches were begun" in json.loads(answer)["error"]
    server.close()


def test_a_watch_with_too_many_lines_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.probe.service.watches.LINES_BYTES", 100)
    server = ProbeServer("127.0.0.1", 0)
    watch = server.watches.get(server.watches.begin("127.0.0.1", 1.0))
    assert watch.size() > 100 and not watch.ended
    server.watches.sweep()
    assert watch.ended and watch.end()["size"] > 100
    server.close()


def test_a_client_that_does_not_read_is_dropped_and_costs_no_memory(tmp_path: Path) -> None:
    with probing(TMPDIR=str(tmp_path)) as (process, address):
        key = json.loads(address.ask("POST", "/v1/watches", b"{}", START_S))["id"]
        (spool,) = tmp_path.glob(f"harness-probe-*/{key}")
        os.truncate(spool, 64 << 20)
        before = process.memory_info().rss
        ask = f"GET /v1/watches/{key}?from=0 HTTP/1.1\r\n\r\n".encode()
        greedy = [connected(address, f"127.0.0.{2 + number % 10}") for number in range(40)]
        for connection in greedy:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            with suppress(OSError):
                connection.sendall(ask * 100)
        time.sleep(1.0)
        assert process.memory_info().rss - before < 60e6
        assert address.clock().error_ns < 3e9
        for connection in greedy:
            connection.close()


def test_who_reads_too_slowly_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.probe.service.http_server.ANSWER_S", 0.5)
    server = ProbeServer("127.0.0.1", 0)
    address = RemoteProbe("127.0.0.1", server.port)
    watch = server.watches.get(server.watches.begin("127.0.0.1", 1.0))
    os.truncate(watch.reader.spool, 64 << 20)
    with connected(address, "127.0.0.1") as slow:
        slow.sendall(f"GET /v1/watches/{watch.reader.spool.name}?from=0 HTTP/1.1\r\n\r\n".encode() * 5)
        time.sleep(1.5)
        got = 0
        while piece := slow.recv(1 << 20):
            got += len(piece)
    server.close()
    assert 0 < got < 5 * CHUNK_BYTES, "it was dropped in the middle of an answer"


@pytest.mark.parametrize(
    ("sent", "limit"),
    [(b"", "IDLE_S"), (b"GET /v1/clock HTTP/1.1\r\nX: ", "QUESTION_S")],
    ids=["nothing", "a head in drips"],
)
def test_who_does_not_come_to_an_end_is_dropped(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, limit: str
) -> None:
    monkeypatch.setattr(f"harness.probe.service.http_server.{limit}", 0.3)
    server = ProbeServer("127.0.0.1", 0)
    with connected(RemoteProbe("127.0.0.1", server.port), "127.0.0.1") as slow:
        began = time.monotonic()
        try:
            while time.monotonic() < began + 3:
                slow.sendall(sent[-1:] if sent and time.monotonic() > began + 0.1 else sent)
                slow.settimeout(0.1)
                with suppress(TimeoutError):
                    assert slow.recv(100) == b""
                    break
        except OSError:
            pass
    server.close()
    assert time.monotonic() - began < 3


def test_a_client_that_asks_too_often_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.probe.service.http_server.AT_ONCE", 10)
    monkeypatch.setattr("harness.probe.service.http_server.PER_S", 0.1)
    server = ProbeServer("127.0.0.1", 0)
    with connected(RemoteProbe("127.0.0.1", server.port), "127.0.0.1") as often:
        often.sendall(b"GET /v1/clock HTTP/1.1\r\n\r\n" * 20)
        got = b""
        with suppress(ConnectionResetError):
            while piece := often.recv(1 << 16):
                got += piece
    server.close()
    assert got.count(b"200 OK") == 9 and got.count(b" 429 ") == 1


def test_there_are_no_more_threads_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.probe.service.http_server.THREADS", 1)
    server = ProbeServer("127.0.0.1", 0)
    address = RemoteProbe("127.0.0.1", server.port)
    with connected(address, "127.0.0.1") as first, connected(address, "127.0.0.1") as second:
        second.settimeout(3)
        with suppress(ConnectionResetError):
            assert second.recv(1) == b"", "it is closed at once"
        first.sendall(b"GET /v1/clock HTTP/1.1\r\n\r\n")
        assert b"at_ns" in first.recv(4096)
    server.close()


@pytest.mark.parametrize(
    "header",
    [
        "Origin: http://page.example",
        "Origin: null",
        "Referer: http://page.example/",
        "Sec-Fetch-Site: same-origin",
        "Accept-Language: en",
        "Cookie: a=b",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
        "Host: page.example:9400",
        "Host: 127.0.0.1.page.example",
        "Transfer-Encoding: chunked",
    ],
)
def test_a_page_in_a_browser_gets_nothing(quiet: RemoteProbe, header: str) -> None:
    for line in (
        "GET /v1/clock",
        "GET /v1/machine",
        "POST /v1/watches",
        "DELETE /v1/watches/0",
        "OPTIONS /v1/watches",
    ):
        body = "Content-Type: application/json\r\nContent-Length: 2\r\n" if line.startswith("POST") else ""
        with connected(quiet, "127.0.0.1") as connection:
            connection.sendall(f"{line} HTTP/1.1\r\n{header}\r\n{body}\r\n{{}}".encode())
            answer = connection.recv(4096)
        assert b"HTTP/1.1 4" in answer or b"HTTP/1.1 501" in answer
        assert b"at_ns" not in answer and b"hello" not in answer and b'"id"' not in answer
        assert b"Access-Control" not in answer


@pytest.mark.parametrize("host", ["127.0.0.1:9400", "localhost", "LOCALHOST:1", "[::1]:9400", "10.0.0.5"])
def test_a_client_may_call_it_by_any_address(quiet: RemoteProbe, host: str) -> None:
    with connected(quiet, "127.0.0.1") as connection:
        connection.sendall(f"GET /v1/clock HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b"at_ns" in connection.recv(4096)


@pytest.fixture(scope="module")
def quiet() -> Iterator[RemoteProbe]:
    with probing() as (_, address):
        yield address
