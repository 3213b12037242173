"""A connection that is closed while idle costs nobody a request; a server that fails is still found out."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from harness.load.coordinator.driver import drive
from harness.load.spools import read_spool
from harness.load.wire import Connection, open_connection
from harness.load.wire.grpc.http2 import WORD, Frame, frame
from harness.schema.load import PointLoad
from harness.schema.samples import Phase, Status
from harness.schema.scenario import Protocol
from tests.load import rogue
from tests.load.rogue import DATA, END, HTTP_OK, START, grpc_calls, on_stream
from tests.load.shared_fork_server import shared_fork_server
from tests.load.test_drive import PAYLOADS, job, point

REQUESTS: dict[Protocol, bytes] = {"http": b"POST /x HTTP/1.1\r\n\r\nend", "grpc": b"message"}


@pytest.fixture(params=[False, True], ids=["loop", "kernel"])
def alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whether an answer is first waited for in the kernel."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Connection, "alone", request.param)
        yield


def answers(protocol: Protocol, count: int, then: rogue.Handler) -> rogue.Handler:
    """Answer so many calls, read one more where `then` isn't to come at once, and do it."""

    def http(connection: socket.socket) -> None:
        for _ in range(count):
            if connection.recv(4096):
                connection.sendall(HTTP_OK)
        then(connection)

    def grpc(connection: socket.socket) -> None:
        calls = grpc_calls(connection)
        for stream, _ in islice(calls, count):
            connection.sendall(START(stream) + DATA(stream) + END(stream))
        then(connection)

    return http if protocol == "http" else grpc


def close(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def close_at_the_next(connection: socket.socket) -> None:
    connection.recv(4096)
    close(connection)


def reset_at_the_next(connection: socket.socket) -> None:
    connection.recv(4096)
    rogue.reset(connection)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("end", [close, close_at_the_next, rogue.reset, reset_at_the_next])
@pytest.mark.usefixtures("alone")
def test_a_connection_that_was_closed_while_idle_costs_no_request(
    protocol: Protocol, end: rogue.Handler
) -> None:
    ends, lasts = answers(protocol, 1, end), answers(protocol, 5, close_at_the_next)
    with rogue.rogue_server(ends, ends, lasts) as port:
        connection = open_connection(protocol, "127.0.0.1", port, 5.0)
        first = connection.call(REQUESTS[protocol])
        time.sleep(0.05)
        again = [connection.call(REQUESTS[protocol], keep_body=True) for _ in range(3)]
        connection.close()
    assert (first.status, first.resent) == (Status.OK, False)
    assert [(reply.status, reply.reason, reply.body) for reply in again] == [(Status.OK, None, b"hello")] * 3
    seen_beforehand = protocol == "grpc" and end in (close, rogue.reset) and not again[0].resent
    assert [reply.resent for reply in again] == [not seen_beforehand, not seen_beforehand, False]
    assert all(first.completed_ns < reply.sent_ns < reply.first_byte_ns for reply in again)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.usefixtures("alone")
def test_a_server_that_does_not_answer_is_asked_once_more_and_no_more(protocol: Protocol) -> None:
    connections: list[int] = []

    def counted(handler: rogue.Handler) -> rogue.Handler:
        def handle(connection: socket.socket) -> None:
            connections.append(1)
            handler(connection)

        return handle

    good, bad = answers(protocol, 1, close_at_the_next), answers(protocol, 0, close_at_the_next)
    if protocol == "grpc":  # greeted, then closed with the request

        def bad(connection: socket.socket) -> None:
            for _ in islice(grpc_calls(connection), 1):
                close(connection)

    with rogue.rogue_server(counted(good), counted(bad)) as port:
        connection = open_connection(protocol, "127.0.0.1", port, 5.0)
        assert connection.call(REQUESTS[protocol]).status is Status.OK
        reply = connection.call(REQUESTS[protocol])
        assert (reply.status, reply.resent) == (Status.CONNECTION, True)
        assert reply.reason == "the server closed the connection without an answer"
        assert len(connections) == 2
        assert connection.call(REQUESTS[protocol]).resent is False, (
            "a new connection has nothing to be closed for"
        )
        assert len(connections) == 3
        connection.close()


def says(*frames: bytes) -> rogue.Handler:
    """Answer one call, and say this to the next."""

    def handle(connection: socket.socket) -> None:
        calls = grpc_calls(connection)
        for stream, _ in islice(calls, 1):
            connection.sendall(START(stream) + DATA(stream) + END(stream))
        for _ in islice(calls, 1):
            connection.sendall(b"".join(frames))
        connection.recv(1)

    return handle


RESET = Frame.RST_STREAM


@pytest.mark.parametrize(
    ("said", "resent"),
    [
        (frame(Frame.GOAWAY, 0, 0, WORD.pack(1) + WORD.pack(0)), True),
        (on_stream(RESET, 0, WORD.pack(7))(3), True),
        (on_stream(RESET, 0, WORD.pack(2))(3), False),
        (on_stream(RESET, 0, WORD.pack(11))(3), False),
    ],
    ids=["going away", "refused stream", "internal error", "enhance your calm"],
)
@pytest.mark.usefixtures("alone")
def test_a_stream_that_the_server_never_looked_at_is_sent_again(said: bytes, resent: bool) -> None:
    with rogue.rogue_server(says(said), answers("grpc", 2, close)) as port:
        connection = open_connection("grpc", "127.0.0.1", port, 5.0)
        assert connection.call(b"message").status is Status.OK
        reply = connection.call(b"message")
        assert (reply.status, reply.resent) == (Status.OK if resent else Status.CONNECTION, resent)
        connection.close()


def test_a_point_behind_a_proxy_that_closes_what_is_idle_has_no_failures_and_says_how_many_were_sent_again(
    tmp_path: Path,
) -> None:
    small = dict.fromkeys(PAYLOADS, PAYLOADS["short"])
    asked = point("http", PointLoad(rate_per_s=50), warmup_s=0.1, duration_s=0.5)
    with rogue.rogue_server(answers("http", 1, close)) as port:
        outcome = drive(job(asked, port, tmp_path, payloads=small), fork_server=shared_fork_server())
    assert outcome.ended is None
    requests, reasons = read_spool(tmp_path / "load")
    measured = requests[requests["phase"] == Phase.MEASURE]
    assert (measured["status"] == Status.OK).all() and not reasons
    (process,) = outcome.processes
    assert process.requests == len(measured) == 25
    assert 0 < process.resent <= 25
