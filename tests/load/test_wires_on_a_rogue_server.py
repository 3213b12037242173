"""What comes back wrong is an error with its reason, never a latency, and the next call is right."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.load.wire import Connection, open_connection
from harness.load.wire.grpc import http2
from harness.load.wire.grpc.http2 import Flag, Frame, Setting
from harness.schema.samples import Status
from harness.schema.scenario import Protocol
from tests.load import rogue
from tests.load.rogue import DATA, END, GRPC_OK, HTTP_OK, START, grpc_says, http_says, on_stream, trailers

REQUEST = b"POST /x HTTP/1.1\r\n\r\nend"
TIMEOUT_S = 0.4
LONG_S = 10.0
"""A call that takes this long hangs: it is far over its limit, and over what a busy machine adds."""


@pytest.fixture(autouse=True, params=[False, True], ids=["loop", "kernel"], scope="module")
def alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whether an answer is first waited for in the kernel."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Connection, "alone", request.param)
        yield


def close(connection: socket.socket) -> None:
    connection.close()


def drip(connection: socket.socket) -> None:
    """One byte at a time, for longer than the call may last."""
    for _ in range(20):
        connection.sendall(b"x")
        time.sleep(0.05)


def head(*lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode()


CLOSED = "the server closed the connection before the answer was whole"
RESET = "connection reset by peer before the answer was whole"
WRONG_HTTP: dict[str, tuple[rogue.Handler, Status, str]] = {
    "closed at once": (
        http_says(b"", close),
        Status.CONNECTION,
        "the server closed the connection without an answer",
    ),
    "half a head": (http_says(b"HTTP/1.1 200 OK\r\nConte", close), Status.CONNECTION, CLOSED),
    "half a body": (http_says(head("Content-Length: 50") + b"hel", close), Status.CONNECTION, CLOSED),
    "half a large body": (
        http_says(head("Content-Length: 5000000") + bytes(400_000), close),
        Status.CONNECTION,
        CLOSED,
    ),
    "reset at once": (http_says(b"", rogue.reset), Status.CONNECTION, RESET),
    "reset in the body": (
        http_says(head("Content-Length: 50") + b"hel", lambda c: (time.sleep(0.05), rogue.reset(c))),
        Status.CONNECTION,
        RESET,
    ),
    "stalled": (http_says(b""), Status.TIMEOUT, "no answer within 0.4 s"),
    "stalled in the body": (
        http_says(head("Content-Length: 50") + b"hel"),
        Status.TIMEOUT,
        "half an answer within 0.4 s",
    ),
    "one byte at a time": (
        http_says(head("Content-Length: 500"), drip),
        Status.TIMEOUT,
        "half an answer within 0.4 s",
    ),
    "garbage": (http_says(b"\x16\x03\x01 hello"), Status.PROTOCOL, "the answer is not HTTP/1"),
    "HTTP/2": (http_says(http2.frame(Frame.SETTINGS, 0, 0)), Status.PROTOCOL, "the answer is not HTTP/1"),
    "no length": (http_says(head() + b"hello"), Status.PROTOCOL, "an answer that doesn't say its length"),
    "a negative length": (
        http_says(head("Content-Length: -1") + b"hello"),
        Status.PROTOCOL,
        "an answer that doesn't say its length",
    ),
    "too long": (
        http_says(head("Content-Length: 3") + b"hello"),
        Status.PROTOCOL,
        "more bytes than Content-Length says",
    ),
    "no colon": (http_says(head("nonsense")), Status.PROTOCOL, "a header line without a colon"),
    "100": (
        http_says(b"HTTP/1.1 100 Continue\r\n\r\n"),
        Status.PROTOCOL,
        "HTTP status 100, which is no answer",
    ),
    "half a chunk": (
        http_says(head("Transfer-Encoding: chunked") + b"5\r\nhel", close),
        Status.CONNECTION,
        CLOSED,
    ),
    "a wrong chunk": (
        http_says(head("Transfer-Encoding: chunked") + b"-5\r\nhello\r\n0\r\n\r\n"),
        Status.PROTOCOL,
        "a chunk without its size",
    ),
    "400": (
        http_says(b'HTTP/1.1 400 Bad\r\nContent-Length: 15\r\n\r\n{"error":"bad"}', close),
        Status.REFUSED,
        "HTTP 400: bad",
    ),
    "503 of a proxy": (
        http_says(b"HTTP/1.1 503 No\r\nContent-Length: 12\r\nConnection: close\r\n\r\n<h1>\nbusy</h", close),
        Status.REFUSED,
        "HTTP 503: <h1>",
    ),
    "500 without a body": (
        http_says(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", close),
        Status.REFUSED,
        "HTTP 500",
    ),
}


def goaway(last: int, code: int) -> bytes:
    return http2.frame(Frame.GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + b"debug")


def reset_stream(code: int) -> Callable[[int], bytes]:
    return on_stream(Frame.RST_STREAM, 0, code.to_bytes(4, "big"))


NO_MESSAGE = "an answer without a message"
WRONG_GRPC: dict[str, tuple[rogue.Handler, Status, str]] = {
    "closed at once": (
        lambda c: c.recv(4096),
        Status.CONNECTION,
        "the server closed the connection without an answer; if it uses TLS, give its CA with --grpc-ca",
    ),
    "closed after the request": (
        grpc_says(then=close),
        Status.CONNECTION,
        "the server closed the connection without an answer",
    ),
    "half an answer": (grpc_says(START, DATA, then=close), Status.CONNECTION, CLOSED),
    "half a frame": (grpc_says(START, b"\0\0\x50\0", then=close), Status.CONNECTION, CLOSED),
    "reset by TCP": (grpc_says(then=rogue.reset), Status.CONNECTION, RESET),
    "stream reset": (
        grpc_says(START, reset_stream(2)),
        Status.CONNECTION,
        "the server reset the stream: INTERNAL_ERROR",
    ),
    "stream reset, unknown code": (
        grpc_says(reset_stream(99)),
        Status.CONNECTION,
        "the server reset the stream: error 99",
    ),
    "going away": (
        grpc_says(goaway(0, 11)),
        Status.CONNECTION,
        "the server is going away: ENHANCE_YOUR_CALM",
    ),
    "stalled": (grpc_says(), Status.TIMEOUT, "no answer within 0.4 s"),
    "stalled handshake": (lambda _: time.sleep(1), Status.TIMEOUT, "no answer within 0.4 s"),
    "half, then stalled": (grpc_says(START, DATA), Status.TIMEOUT, "half an answer within 0.4 s"),
    "HTTP/1": (
        lambda c: c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Status.PROTOCOL,
        "the answer is not HTTP/2",
    ),
    "a frame too large": (
        grpc_says(START, lambda s: http2.FRAME.pack((http2.LARGEST_DATA + 1) << 8 | Frame.DATA, 0, s)),
        Status.PROTOCOL,
        "the answer is not HTTP/2",
    ),
    "no message": (grpc_says(START, END), Status.PROTOCOL, NO_MESSAGE),
    "a short message": (
        grpc_says(START, on_stream(Frame.DATA, 0, b"\0\0\0\0\x09hello"), END),
        Status.PROTOCOL,
        "a message that isn't as long as it says",
    ),
    "two messages": (
        grpc_says(START, DATA, DATA, END),
        Status.PROTOCOL,
        "a message that isn't as long as it says",
    ),
    "compressed": (
        grpc_says(START, on_stream(Frame.DATA, 0, b"\1\0\0\0\5hello"), END),
        Status.PROTOCOL,
        "a message that isn't as long as it says",
    ),
    "no trailers": (
        grpc_says(START, on_stream(Frame.DATA, Flag.END_STREAM, rogue.MESSAGE)),
        Status.PROTOCOL,
        "an answer without a grpc-status",
    ),
    "data first": (grpc_says(DATA, START, END), Status.PROTOCOL, "data outside of an answer"),
    "another stream": (
        grpc_says(http2.frame(Frame.HEADERS, Flag.END_HEADERS, 7, rogue.HEADERS)),
        Status.PROTOCOL,
        "an answer on a stream that isn't open",
    ),
    "wrong headers": (
        grpc_says(on_stream(Frame.HEADERS, Flag.END_HEADERS, b"\xff\xff\xff\xff\xff")),
        Status.PROTOCOL,
        "a header block that can't be read",
    ),
    "headers that need a table": (
        grpc_says(
            on_stream(
                Frame.HEADERS,
                Flag.END_HEADERS,
                rogue.dynamic_block((":status", "200"), ("x", "y")) + b"\xbe",
            )
        ),
        Status.PROTOCOL,
        "a header block that can't be read",
    ),
    "a status with text": (
        grpc_says(
            trailers((":status", "200"), ("grpc-status", "14"), ("grpc-message", "100%25 f%C3%BCll")),
            then=close,
        ),
        Status.REFUSED,
        "UNAVAILABLE: 100% füll",
    ),
    "an unknown status after data": (
        grpc_says(START, DATA, trailers(("grpc-status", "77")), then=close),
        Status.REFUSED,
        "status 77",
    ),
    "a proxy": (grpc_says(trailers((":status", "502")), then=close), Status.REFUSED, "HTTP 502"),
}


def check(
    protocol: Protocol, request: bytes, wrong: rogue.Handler, right: rogue.Handler, status: Status, why: str
) -> None:
    with rogue.rogue_server(wrong, right) as port:
        connection = open_connection(protocol, "127.0.0.1", port, TIMEOUT_S)
        began = time.monotonic()
        reply = connection.call(request, keep_body=True)
        assert (reply.status, reply.reason, reply.body) == (status, why, None)
        assert time.monotonic() - began < LONG_S
        time.sleep(0.02)
        if connection.connected:  # after a refusal, which was whole; this server hangs up then
            assert status is Status.REFUSED
            connection.call(request)
        good = connection.call(request, keep_body=True)
        assert (good.status, good.reason) == (Status.OK, None)
        assert good.body == b"hello"
        connection.close()


@pytest.mark.parametrize("case", WRONG_HTTP)
def test_http_gone_wrong_is_an_error_with_its_reason(case: str) -> None:
    wrong, status, why = WRONG_HTTP[case]
    check("http", REQUEST, wrong, http_says(HTTP_OK), status, why)


@pytest.mark.parametrize("case", WRONG_GRPC)
def test_grpc_gone_wrong_is_an_error_with_its_reason(case: str) -> None:
    wrong, status, why = WRONG_GRPC[case]
    check("grpc", b"message", wrong, grpc_says(*GRPC_OK), status, why)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_port_that_nobody_listens_on_is_a_connection_error(protocol: Protocol) -> None:
    with rogue.rogue_server(close) as port:
        pass
    reply = open_connection(protocol, "127.0.0.1", port, TIMEOUT_S).call(REQUEST)
    assert (reply.status, reply.reason) == (Status.CONNECTION, "connection refused")
    assert reply.sent_bytes == 0 and reply.first_byte_ns == -1 and reply.sent_ns <= reply.completed_ns


def test_a_name_that_does_not_resolve_is_a_connection_error() -> None:
    reply = open_connection("http", "no-such-host.invalid", 80, 5).call(REQUEST)
    assert reply.status is Status.CONNECTION


def test_a_peer_that_does_not_read_is_a_timeout() -> None:
    for protocol, handler in (("http", lambda _: time.sleep(1)), ("grpc", grpc_says())):
        with rogue.rogue_server(handler) as port:
            reply = open_connection(protocol, "127.0.0.1", port, TIMEOUT_S).call(bytes(30_000_000))
            assert (reply.status, reply.reason) == (Status.TIMEOUT, "no answer within 0.4 s")


@pytest.mark.parametrize(
    "answer",
    [
        head("Transfer-Encoding: chunked") + b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
        head("Transfer-Encoding: chunked") + b"05\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
        head("CONTENT-length:5  ", "X: y") + b"hello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
def test_http_answers_are_read_however_they_are_cut(answer: bytes) -> None:
    for cut in range(1, len(answer), 3):

        def in_pieces(connection: socket.socket, cut: int = cut) -> None:
            connection.recv(4096)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(answer[:cut])
            time.sleep(0.002)
            connection.sendall(answer[cut:])
            connection.recv(1)

        with rogue.rogue_server(in_pieces) as port:
            connection = open_connection("http", "127.0.0.1", port, TIMEOUT_S)
            assert connection.call(REQUEST, keep_body=True).body == b"hello"
            connection.close()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("protocol", "answer"),
    [("http", HTTP_OK), ("http", CHUNKED), ("grpc", GRPC_OK)],
    ids=["http", "http in chunks", "grpc"],
)
def test_an_answer_that_is_longer_than_what_is_kept_is_none_the_worse(
    protocol: Protocol, answer: bytes | tuple[bytes, ...]
) -> None:
    said = http_says(answer) if protocol == "http" else grpc_says(*answer)
    for keeps, body in ((4, None), (100, b"hello")):
        with rogue.rogue_server(said) as port:
            connection = open_connection(protocol, "127.0.0.1", port, TIMEOUT_S)
            connection.keeps = keeps
            reply = connection.call(REQUEST, keep_body=True)
            assert (reply.status, reply.body) == (Status.OK, body)
            connection.close()


def test_grpc_answers_are_read_however_they_are_framed() -> None:
    heard: list[tuple[int, int, bytes]] = []
    padded = b"\3" + rogue.MESSAGE[:7] + b"\0\0\0"
    frames = (
        http2.frame(Frame.PING, 0, 0, b"12345678"),
        http2.frame(Frame.SETTINGS, Flag.ACK, 0),
        on_stream(Frame.HEADERS, Flag.PRIORITY, b"\0\0\0\0\1" + rogue.HEADERS[:3]),
        on_stream(Frame.CONTINUATION, Flag.END_HEADERS, rogue.HEADERS[3:]),
        on_stream(Frame.DATA, 0, b""),
        on_stream(Frame.DATA, Flag.PADDED, padded),
        on_stream(Frame.DATA, 0, rogue.MESSAGE[7:]),
        goaway(1, 0),
        END,
        reset_stream(0),
    )
    with rogue.rogue_server(grpc_says(*frames, heard=heard), grpc_says(*GRPC_OK, heard=heard)) as port:
        connection = open_connection("grpc", "127.0.0.1", port, TIMEOUT_S)
        reply = connection.call(b"message", keep_body=True)
        assert (reply.status, reply.body) == (Status.OK, b"hello")
        assert not connection.connected  # it was told to go
        for _ in range(3):
            reply = connection.call(b"message", keep_body=True)
            assert (reply.status, reply.body) == (Status.OK, b"hello")
        assert connection.connected
        connection.close()
    sent = [payload for kind, _, payload in heard if kind == Frame.DATA]
    assert sent == [b"\0\0\0\0\7message"] * 4
    assert sum((kind, flags) == (Frame.SETTINGS, Flag.ACK) for kind, flags, _ in heard) == 2
    blocks = {payload for kind, _, payload in heard if kind == Frame.HEADERS}
    assert len(blocks) == 1  # stateless


def test_a_ping_is_answered_while_the_answer_is_awaited() -> None:
    def pings_first(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(http2.frame(Frame.SETTINGS, 0, 0) + http2.frame(Frame.PING, 0, 0, b"abcdefgh"))
        got = b""
        while http2.frame(Frame.PING, Flag.ACK, 0, b"abcdefgh") not in got:
            got += connection.recv(4096)
        connection.sendall(b"".join(f(1) for f in GRPC_OK))
        connection.recv(1)

    with rogue.rogue_server(pings_first) as port:
        connection = open_connection("grpc", "127.0.0.1", port, TIMEOUT_S)
        assert connection.call(b"message").status is Status.OK
        connection.close()


def test_large_messages_keep_to_the_peers_windows_and_frames() -> None:
    message = bytes(range(256)) * 1000
    sizes: list[int] = []
    got = bytearray()

    def narrow(connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        stream.read(len(http2.PREFACE))
        payload = http2.SETTING.pack(Setting.INITIAL_WINDOW_SIZE, 10_000)
        connection.sendall(http2.frame(Frame.SETTINGS, 0, 0, payload))
        allowed = {0: 65_535, 1: 10_000}
        while True:
            first, flags, number = http2.FRAME.unpack(stream.read(9))
            body = stream.read(first >> 8)
            if first & 0xFF != Frame.DATA:
                continue
            sizes.append(len(body))
            got.extend(body)
            for each in (0, number):
                allowed[each] -= len(body)
                assert allowed[each] >= 0, "more than the window"
            if flags & Flag.END_STREAM:
                break
            if allowed[1] == 0:
                allowed[1] += 7_000
                connection.sendall(on_stream(Frame.WINDOW_UPDATE, 0, http2.WORD.pack(7_000))(1))
            if allowed[0] < 8_000:
                allowed[0] += 50_000
                connection.sendall(http2.window_update(50_000))
        connection.sendall(b"".join(f(1) for f in GRPC_OK))
        connection.recv(1)

    with rogue.rogue_server(narrow) as port:
        connection = open_connection("grpc", "127.0.0.1", port, 5)
        reply = connection.call(message)
        assert reply.status is Status.OK, reply
        connection.close()
    assert bytes(got) == b"\0" + len(message).to_bytes(4, "big") + message
    assert max(sizes) <= 16_384


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from(["http", "grpc"]))
def test_no_bytes_whatever_make_a_call_raise_or_hang(data: st.DataObject, protocol: Protocol) -> None:
    noise = data.draw(st.binary(max_size=200))
    good = HTTP_OK if protocol == "http" else b"".join(f(1) for f in GRPC_OK)
    at = data.draw(st.integers(0, len(good)))
    said = good[:at] + noise + good[at:]
    prefix = b"" if protocol == "http" else http2.frame(Frame.SETTINGS, 0, 0)

    def handler(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(prefix + said)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    with rogue.rogue_server(handler) as port:
        connection = open_connection(protocol, "127.0.0.1", port, 2)
        reply = connection.call(REQUEST, keep_body=True)
        assert reply.completed_ns >= reply.sent_ns
        assert (reply.status is Status.OK) == (reply.reason is None)
        connection.close()
