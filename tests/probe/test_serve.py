"""The probe as an HTTP server, asked by clients that mean no good and by those that are gone."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection

import psutil
import pytest

from harness.probe.reader.spool import Spool
from harness.probe.service.http_server import BODY_BYTES
from harness.probe.service.probe_server import ProbeServer
from harness.probe.watch.remote_watch import END_S, START_S, RemoteProbe
from harness.schema.errors import HarnessError


def asked(address: RemoteProbe, raw: bytes) -> tuple[int, bytes]:
    """The status and body that these bytes get; what isn't HTTP/1 gets a body alone, as HTTP/0.9 has it."""
    got = b""
    with (
        socket.create_connection((address.host, address.port), timeout=5) as connection,
        suppress(ConnectionError),  # a refusal comes while it is sent, and then the end; it is kept
    ):
        with suppress(OSError):
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(1 << 16):
            got += piece
    if not got.startswith(b"HTTP/"):
        return 0, got
    head, _, body = got.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def post(body: bytes, content: str = "application/json", length: int | str | None = None) -> bytes:
    length = len(body) if length is None else length
    head = f"POST /v1/watches HTTP/1.1\r\nContent-Type: {content}\r\nContent-Length: {length}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /v2/clock HTTP/1.1\r\n\r\n", 404),
        (b"GET /v1/watches/../../etc/passwd?from=0 HTTP/1.1\r\n\r\n", 404),
        (b"GET /v1/watches/%2e%2e HTTP/1.1\r\n\r\n", 404),
        (b"GET /v1/watches/nobody?from=0 HTTP/1.1\r\n\r\n", 404),
        (b"GET /v1/watches/nobody?from=-1 HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/watches/nobody?from=99999999999999999999 HTTP/1.1\r\n\r\n", 400),
        (b"GET //[/ HTTP/1.1\r\n\r\n", 404),
        (b"DELETE /v1/clock HTTP/1.1\r\n\r\n", 404),
        (b"DELETE /v1/watches/nobody HTTP/1.1\r\n\r\n", 404),
        (b"PUT /v1/watches HTTP/1.1\r\n\r\n", 501),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"nonsense\r\n\r\n", 0),
        (b"GET /v1/clock HTTP/9.9\r\n\r\n", 0),
        (post(b"{}", content="text/plain"), 415),
        (post(b"{}", length="many"), 411),
        (post(b"{}", length="-1"), 411),
        (post(b"", length=BODY_BYTES + 1), 413),
        (post(b"{"), 400),
        (post(b"[]"), 400),
        (post(b'{"interval_s": 0}'), 400),
        (post(b'{"interval_s": 1e9}'), 400),
        (post(b'{"interval_s": "fast"}'), 400),
        (post(b'{"interval_s": NaN}'), 400),
        (post(b"[" * 4000), 400),
    ],
)
def test_a_client_that_asks_nonsense_gets_a_sentence_and_no_traceback(
    probe: RemoteProbe, raw: bytes, status: int
) -> None:
    got, body = asked(probe, raw)
    assert got == status
    assert set(json.loads(body)) == {"error"}
    assert b"Traceback" not in body and b".py" not in body
    assert b"at_ns" in asked(probe, b"GET /v1/clock HTTP/1.1\r\n\r\n")[1], "it answers on"


@pytest.fixture(scope="module")
def probe() -> Iterator[RemoteProbe]:
    server = ProbeServer("127.0.0.1", 0)
    threading.Thread(target=server.serve, daemon=True).start()
    yield RemoteProbe("127.0.0.1", server.port)
    server.close()


def test_no_more_runs_are_watched_than_it_can_bear(
    probe: RemoteProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.probe.service.watches.WATCHES", 2)
    keys = [json.loads(probe.ask("POST", "/v1/watches", b"{}", START_S))["id"] for _ in range(2)]
    with pytest.raises(Exception, match="try again"):
        probe.ask("POST", "/v1/watches", b"{}", START_S)
    assert json.loads(probe.ask("DELETE", f"/v1/watches/{keys[0]}", limit_s=END_S))["problem"] is None
    keys.append(json.loads(probe.ask("POST", "/v1/watches", b"{}", START_S))["id"])
    for key in keys:
        probe.ask("DELETE", f"/v1/watches/{key}", limit_s=END_S)
        whole = probe.ask("GET", f"/v1/watches/{key}?from=0")
        spool = Spool()
        spool.take(whole.splitlines(keepends=True))
        assert spool.ended and spool.hello is not None


def test_an_address_that_is_taken_is_a_sentence(probe: RemoteProbe) -> None:
    with pytest.raises(HarnessError, match="give --serve another"):
        ProbeServer("127.0.0.1", probe.port)


def test_an_idle_connection_serves_many_questions(probe: RemoteProbe) -> None:
    connection = HTTPConnection(probe.host, probe.port, timeout=5)
    for _ in range(3):
        connection.request("GET", "/v1/clock")
        assert json.loads(connection.getresponse().read())["at_ns"] <= time.monotonic_ns()
    connection.close()


def test_a_watch_whose_run_is_gone_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.probe.service.watches.FORGOTTEN_S", 0.5)
    server = ProbeServer("127.0.0.1", 0)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    address = RemoteProbe("127.0.0.1", server.port)
    key = json.loads(address.ask("POST", "/v1/watches", b"{}", START_S))["id"]
    (reader,) = [p for p in psutil.Process().children() if "harness.probe.reader.reader" in p.cmdline()]
    give_up = time.monotonic() + 10
    while reader.is_running() and time.monotonic() < give_up:
        time.sleep(0.1)
    assert not reader.is_running()
    with pytest.raises(Exception, match="no such watch"):
        address.ask("GET", f"/v1/watches/{key}?from=0")
    server.close()
