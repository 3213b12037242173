"""What is meant to do harm ends as a failed request, in time, with a reason that is short."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from harness.load.wire import Connection, Reply, open_connection
from harness.load.wire.connection import Fault
from harness.load.wire.grpc import http2
from harness.load.wire.grpc.http2 import SETTING, Flag, Frame, Setting
from harness.load.wire.grpc.http2_connection import Http2Connection
from harness.load.wire.grpc.incoming import Incoming
from harness.load.wire.grpc.response_templates import ResponseTemplates
from harness.plain_text import MOST_QUOTED
from harness.schema.errors import ServerError
from harness.schema.samples import Status
from harness.schema.scenario import Protocol
from tests.fuzz.answers import Pieces
from tests.load import rogue
from tests.load.rogue import END, GRPC_OK, HTTP_OK, START, grpc_says, http_says, on_stream, trailers

REQUEST = b"POST /x HTTP/1.1\r\n\r\nend"
TIMEOUT_S = 0.4
LONG_S = 10.0
"""A call that takes this long hangs: it is far over its limit, and over what a busy machine adds."""
LATE = Status.TIMEOUT, "half an answer within 0.4 s"
NO_ANSWER = Status.TIMEOUT, "no answer within 0.4 s"


@pytest.fixture(autouse=True, params=[False, True], ids=["loop", "kernel"], scope="module")
def alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whether an answer is first waited for in the kernel."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Connection, "alone", request.param)
        yield


def without_end(part: bytes) -> Callable[[socket.socket], None]:
    """Sends it again and again; fast, so that there is always something to be read."""

    def flood(connection: socket.socket) -> None:
        many = part * max(1, 100_000 // len(part))
        while True:
            connection.sendall(many)

    return flood


def call(protocol: Protocol, handler: rogue.Handler, keep_body: bool = False) -> Reply:
    """The reply of the first call; the next one, to a server that is right again, is right."""
    right = http_says(HTTP_OK) if protocol == "http" else grpc_says(*GRPC_OK)
    with rogue.rogue_server(handler, right) as port:
        connection = open_connection(protocol, "127.0.0.1", port, TIMEOUT_S)
        began = time.monotonic()
        reply = connection.call(REQUEST, keep_body)
        assert time.monotonic() - began < LONG_S
        connection.close()
        connection = open_connection(protocol, "127.0.0.1", port, LONG_S)
        assert connection.call(REQUEST, keep_body=True).body == b"hello"
        connection.close()
    assert reply.body is None and reply.reason is not None
    assert len(reply.reason) <= MOST_QUOTED and reply.reason.isprintable()
    return reply


def http(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def refusal(body: bytes) -> bytes:
    return http(f"Content-Length: {len(body)}", status="400 No") + body


CHUNKED = http("Transfer-Encoding: chunked")
DIGITS = "1" * 5000
HTTP: dict[str, tuple[rogue.Handler, Status, str]] = {
    "a length of 5000 digits": (
        http_says(http(f"Content-Length: {DIGITS}")),
        Status.PROTOCOL,
        "an answer that doesn't say its length",
    ),
    "two lengths": (
        http_says(http("Content-Length: 5", "Content-Length: 6") + b"hello"),
        Status.PROTOCOL,
        "an answer of two lengths",
    ),
    "a status of 5000 digits": (
        http_says(http("Content-Length: 0", status=f"{DIGITS} OK")),
        Status.PROTOCOL,
        "the answer is not HTTP/1",
    ),
    "a chunk of 2**64 - 1": (
        http_says(CHUNKED + b"ffffffffffffffff\r\n"),
        Status.PROTOCOL,
        "a chunk without its size",
    ),
    "a chunk extension without end": (
        http_says(CHUNKED + b"5;", without_end(b"x=y;")),
        Status.PROTOCOL,
        "a chunk without its size",
    ),
    "chunks without end": (http_says(CHUNKED, without_end(b"1\r\nx\r\n")), *LATE),
    "a chunk of 4 GB": (http_says(CHUNKED + b"ffffffff\r\n", without_end(b"x")), *LATE),
    "a trailer without end": (
        http_says(CHUNKED + b"0\r\n", without_end(b"a: b\r\n")),
        Status.PROTOCOL,
        "a trailer of more than 32768 bytes",
    ),
    "a head without end": (
        http_says(b"HTTP/1.1 200 OK\r\n", without_end(b"a: b\r\n")),
        Status.PROTOCOL,
        "a head of more than 32768 bytes",
    ),
    "10 TB": (http_says(http("Content-Length: 10000000000000"), without_end(b"x")), *LATE),
    "a refusal of 10 TB": (
        http_says(http("Content-Length: 10000000000000", status="400 No"), without_end(b"x")),
        *LATE,
    ),
    "a refusal without end": (
        http_says(http("Transfer-Encoding: chunked", status="400 No"), without_end(b"1\r\nx\r\n")),
        *LATE,
    ),
    "1xx without end": (
        http_says(b"", without_end(b"HTTP/1.1 100 Continue\r\n\r\n")),
        Status.PROTOCOL,
        "HTTP status 100, which is no answer",
    ),
    "a refusal whose JSON is deep": (http_says(refusal(b"[" * 10_000)), Status.REFUSED, "HTTP 400: [[["),
    "a refusal whose text is a list": (
        http_says(refusal(b'{"error": ' + b"[" * 200 + b"]" * 200 + b"}")),
        Status.REFUSED,
        'HTTP 400: {"error": [[[',
    ),
    "a refusal that a terminal would obey": (
        http_says(refusal(b'{"error": "\\u001b[2J\\u202e\\ud83d\\ude00 no"}')),
        Status.REFUSED,
        "HTTP 400: [2J 😀 no",
    ),
    "a refusal in half a character": (
        http_says(refusal(b'{"error": "\\ud800"}')),
        Status.REFUSED,
        'HTTP 400: {"error": "\\ud800"}',
    ),
    "a refusal of 100 kB": (http_says(refusal(b"x" * 100_000)), Status.REFUSED, "HTTP 400: xxx"),
}


@pytest.mark.parametrize("case", HTTP)
def test_http_that_means_harm_is_a_failure_with_a_reason(case: str) -> None:
    handler, status, why = HTTP[case]
    reply = call("http", handler)
    assert (reply.status, (reply.reason or "")[: len(why)]) == (status, why)
    if case in ("10 TB", "a chunk of 4 GB"):
        status, why = Status.PROTOCOL, "an answer of more than the 1073741824 bytes that are kept"
    reply = call("http", handler, keep_body=True)
    assert (reply.status, (reply.reason or "")[: len(why)]) == (status, why)


def test_a_field_that_nobody_needs_may_be_nonsense() -> None:
    answer = http("Content-Length: 5", f"Inference-Header-Content-Length: {DIGITS}") + b"hello"
    with rogue.rogue_server(http_says(answer)) as port:
        connection = open_connection("http", "127.0.0.1", port, TIMEOUT_S)
        reply = connection.call(REQUEST, keep_body=True)
        assert (reply.body, reply.json_bytes) == (b"hello", None)
        with pytest.raises(ServerError, match="outputs can't be read"):
            connection.decode(reply)
        connection.close()


def setting(name: int, value: int) -> bytes:
    return SETTING.pack(name, value)


def greeting(payload: bytes) -> rogue.Handler:
    return grpc_says(settings=payload)


def flood(kind: Frame, flags: int, stream: int, payload: bytes = b"") -> rogue.Handler:
    return grpc_says(then=without_end(http2.frame(kind, flags, stream, payload)))


def no_room(connection: socket.socket) -> None:
    """For the request; and updates of the window that give none."""
    connection.recv(4096)
    connection.sendall(http2.frame(Frame.SETTINGS, 0, 0, setting(Setting.INITIAL_WINDOW_SIZE, 0)))
    time.sleep(0.1)  # by then it has begun its request
    without_end(http2.frame(Frame.WINDOW_UPDATE, 0, 1, bytes(4)))(connection)


UNKNOWN = http2.FRAME.pack(200, 0, 0)
NOT_ENDED = Status.PROTOCOL, "a header block without an end"
WINDOW = (1).to_bytes(4, "big")
UNASKED = Status.PROTOCOL, "more frames to acknowledge than the server takes acknowledgements"
GRPC: dict[str, tuple[rogue.Handler, tuple[tuple[Status, str], ...]]] = {
    "frames of 0 bytes": (
        greeting(setting(Setting.MAX_FRAME_SIZE, 0)),
        ((Status.PROTOCOL, "a setting that can't be: MAX_FRAME_SIZE of 0"),),
    ),
    "frames of 4 GB": (
        greeting(setting(Setting.MAX_FRAME_SIZE, 2**32 - 1)),
        ((Status.PROTOCOL, "a setting that can't be: MAX_FRAME_SIZE of 4294967295"),),
    ),
    "a window of 4 GB": (
        greeting(setting(Setting.INITIAL_WINDOW_SIZE, 2**32 - 1)),
        ((Status.PROTOCOL, "a setting that can't be: INITIAL_WINDOW_SIZE of 4294967295"),),
    ),
    "no window": (greeting(setting(Setting.INITIAL_WINDOW_SIZE, 0)), (NO_ANSWER,)),
    "no window, and updates of none": (no_room, (NO_ANSWER,)),
    "settings without end": (flood(Frame.SETTINGS, 0, 0), (NO_ANSWER, UNASKED)),
    "acknowledgements without end": (flood(Frame.SETTINGS, Flag.ACK, 0), (NO_ANSWER,)),
    "pings without end": (flood(Frame.PING, 0, 0, b"12345678"), (NO_ANSWER, UNASKED)),
    "a large ping": (
        grpc_says(http2.frame(Frame.PING, 0, 0, bytes(16_000))),
        ((Status.PROTOCOL, "a PING frame of a wrong size"),),
    ),
    "windows of the connection without end": (flood(Frame.WINDOW_UPDATE, 0, 0, WINDOW), (NO_ANSWER,)),
    "windows of the stream without end": (flood(Frame.WINDOW_UPDATE, 0, 1, WINDOW), (NO_ANSWER,)),
    "unknown frames without end": (grpc_says(then=without_end(UNKNOWN)), (NO_ANSWER,)),
    "GOAWAY without end": (flood(Frame.GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4)), (NO_ANSWER,)),
    "continuations without end": (
        grpc_says(
            on_stream(Frame.HEADERS, 0, rogue.HEADERS),
            then=without_end(http2.frame(Frame.CONTINUATION, 0, 1)),
        ),
        (NOT_ENDED,),
    ),
    "a block of 60 kB": (
        grpc_says(on_stream(Frame.HEADERS, Flag.END_HEADERS, b"\x88" * 60_000)),
        (NOT_ENDED,),
    ),
    "a block that grows": (
        grpc_says(on_stream(Frame.HEADERS, Flag.END_HEADERS, b"\x90" * 30_000)),
        ((Status.PROTOCOL, "a header block that can't be read"),),
    ),
    "a number of 20 kB in a block": (
        grpc_says(on_stream(Frame.HEADERS, Flag.END_HEADERS, b"\x7f" + b"\xff" * 20_000)),
        ((Status.PROTOCOL, "a header block that can't be read"),),
    ),
    "headers without end": (
        grpc_says(START, then=without_end(http2.frame(Frame.HEADERS, Flag.END_HEADERS, 1, rogue.HEADERS))),
        (LATE,),
    ),
    "empty data without end": (
        grpc_says(START, then=without_end(http2.frame(Frame.DATA, 0, 1))),
        (LATE,),
    ),
    "padding without end": (
        grpc_says(START, then=without_end(http2.frame(Frame.DATA, Flag.PADDED, 1, b"\xff" + bytes(255)))),
        (LATE,),
    ),
    "more padding than frame": (
        grpc_says(START, on_stream(Frame.DATA, Flag.PADDED, b"\xff123")),
        ((Status.PROTOCOL, "more padding than frame"),),
    ),
    "settings of a stream": (
        grpc_says(on_stream(Frame.SETTINGS, 0, b"")),
        ((Status.PROTOCOL, "a frame that no answer has"),),
    ),
    "a push": (
        grpc_says(on_stream(Frame.PUSH_PROMISE, Flag.END_HEADERS, bytes(4))),
        ((Status.PROTOCOL, "a frame that no answer has"),),
    ),
    "a compressed message that grows": (
        grpc_says(START, on_stream(Frame.DATA, 0, b"\1\0\0\0\5hello"), END),
        ((Status.PROTOCOL, "a message that isn't as long as it says"),),
    ),
    "a message of 4 GB, it says": (
        grpc_says(START, on_stream(Frame.DATA, 0, b"\0\xff\xff\xff\xffhello"), END),
        ((Status.PROTOCOL, "a message that isn't as long as it says"),),
    ),
    "a text of 20 kB, in per cent": (
        grpc_says(trailers((":status", "200"), ("grpc-status", "3"), ("grpc-message", "%1b%e2%82" * 2200))),
        ((Status.REFUSED, "INVALID_ARGUMENT: � � �"),),
    ),
    "a status of 5000 digits": (
        grpc_says(trailers((":status", "200"), ("grpc-status", DIGITS))),
        ((Status.PROTOCOL, "a header block that can't be read"),),
    ),
    "an HTTP status that a terminal would obey": (
        grpc_says(trailers((":status", "\x1b[2J" * 100))),
        ((Status.REFUSED, "HTTP [2J [2J"),),
    ),
}


@pytest.mark.parametrize("case", GRPC)
def test_grpc_that_means_harm_is_a_failure_with_a_reason(case: str) -> None:
    handler, expected = GRPC[case]
    reply = call("grpc", handler)
    assert reply.reason is not None
    assert any((reply.status, reply.reason[: len(why)]) == (status, why) for status, why in expected), reply


def test_a_message_that_cannot_be_read_is_an_error_of_the_server() -> None:
    with rogue.rogue_server(
        grpc_says(START, on_stream(Frame.DATA, 0, b"\0\0\0\0\5\xff\xff\xff\xff\xff"), END)
    ) as port:
        connection = open_connection("grpc", "127.0.0.1", port, TIMEOUT_S)
        reply = connection.call(REQUEST, keep_body=True)
        assert reply.status is Status.OK
        with pytest.raises(ServerError, match="outputs can't be read"):
            connection.decode(reply)
        connection.close()


def test_the_event_loop_has_its_turn_however_much_lies_ready() -> None:
    class Endless(Pieces):
        """As TLS, which may have decrypted more than was asked for; and it always has."""

        has_more = True

        def on_readable(self, _: object) -> None:
            pass

        def receive_into(self, view: memoryview | bytearray) -> int:
            if got := super().receive_into(view):
                return got
            view[: len(UNKNOWN)] = UNKNOWN
            return len(UNKNOWN)

        receive_now = receive_into

    stream = Endless([http2.frame(Frame.SETTINGS, 0, 0)])
    connection = Http2Connection(stream, "")
    connection._on_readable()
    connection.close()


@pytest.mark.parametrize(("kind", "payload"), [(Frame.SETTINGS, b""), (Frame.PING, bytes(8))])
def test_acknowledgements_that_nobody_takes_have_a_bound(kind: Frame, payload: bytes) -> None:
    part = http2.frame(kind, 0, 0, payload)
    incoming = Incoming()
    incoming.greeted = True
    with pytest.raises(Fault, match="more frames to acknowledge"):
        for _ in range(10):
            many = part * (len(incoming.room) // len(part))
            incoming.room[: len(many)] = many
            incoming.take(len(many))
    assert len(incoming.owed) < 70_000


@pytest.mark.parametrize(
    "handler",
    [
        http_says(http("Content-Length: 3000000"), without_end(b"x")),
        http_says(CHUNKED + b"2dc6c0\r\n", without_end(b"x")),
        http_says(CHUNKED, without_end(b"64\r\n" + b"x" * 100 + b"\r\n")),
        grpc_says(START, then=without_end(http2.frame(Frame.DATA, 0, 1, bytes(16_000)))),
    ],
)
def test_an_answer_that_is_kept_has_a_bound(handler: rogue.Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("http", "grpc.incoming"):
        monkeypatch.setattr(f"harness.load.wire.{module}.LARGEST_KEPT", 1_000_000)
    monkeypatch.setattr(Connection, "keeps", 1_000_000)
    protocol: Protocol = "http" if handler.__qualname__.startswith("http") else "grpc"
    reply = call(protocol, handler, keep_body=True)
    assert reply.status is Status.PROTOCOL and "an answer of more than the 1000000 bytes" in (
        reply.reason or ""
    )


def test_what_is_known_again_is_small() -> None:
    large = rogue.block((":status", "200"), ("x", "y" * 5000))
    reader, known = http2.HeaderReader(), ResponseTemplates()
    reader.read(large)
    known.learn(b"".join((on_stream(Frame.HEADERS, Flag.END_HEADERS, large)(1), rogue.DATA(1), END(1))), 1)
    assert (reader._known, known._by_sizes) == ({}, {})
