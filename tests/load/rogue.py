"""A local server that misbehaves on the first connections as it is told, and behaves on all later ones."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import hpack

from harness.load.wire.grpc import http2
from harness.load.wire.grpc.http2 import FRAME, Flag, Frame

Handler = Callable[[socket.socket], None]

HTTP_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@contextmanager
def rogue_server(*handlers: Handler) -> Iterator[int]:
    """Port of a server that gives its n-th connection to the n-th handler, and all later ones to the last."""
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        served = 0
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                handler = handlers[min(served, len(handlers) - 1)]
                served += 1
                threading.Thread(target=serve, args=(connection, handler), daemon=True).start()

    def serve(connection: socket.socket, handler: Handler) -> None:
        with connection, suppress(OSError):
            handler(connection)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def http_says(answer: bytes, then: Callable[[socket.socket], object] = lambda c: c.recv(1)) -> Handler:
    """Answer each request (they are short, and end with "end") with these bytes, then do `then`."""

    def handle(connection: socket.socket) -> None:
        while True:
            request = b""
            while not request.endswith(b"end"):
                got = connection.recv(4096)
                if not got:
                    return
                request += got
            connection.sendall(answer)
            if answer != HTTP_OK:
                then(connection)
                return

    return handle


def block(*fields: tuple[str, str]) -> bytes:
    """A header block that uses no dynamic table, as our settings ask."""
    return http2.stateless_block(list(fields))


def dynamic_block(*fields: tuple[str, str]) -> bytes:
    """A header block that enters its fields into the dynamic table."""
    encoded: bytes = hpack.Encoder().encode(list(fields))
    return encoded


HEADERS = block((":status", "200"), ("content-type", "application/grpc"))
MESSAGE = b"\0\0\0\0\5hello"


def on_stream(kind: Frame, flags: int, payload: bytes) -> Callable[[int], bytes]:
    return lambda stream: http2.frame(kind, flags, stream, payload)


def trailers(*fields: tuple[str, str]) -> Callable[[int], bytes]:
    return on_stream(Frame.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, block(*fields))


START = on_stream(Frame.HEADERS, Flag.END_HEADERS, HEADERS)
DATA = on_stream(Frame.DATA, 0, MESSAGE)
END = trailers(("grpc-status", "0"))
GRPC_OK = (START, DATA, END)


def grpc_says(
    *frames: Callable[[int], bytes] | bytes,
    settings: bytes = b"",
    then: Callable[[socket.socket], object] = lambda c: c.recv(1),
    heard: list[tuple[int, int, bytes]] | None = None,
) -> Handler:
    """Answer each call with these frames, all in one write; keep what it heard: (kind, flags, payload)."""

    def handle(connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        assert stream.read(len(http2.PREFACE)) == http2.PREFACE
        connection.sendall(http2.frame(Frame.SETTINGS, 0, 0, settings))
        while True:
            head = stream.read(FRAME.size)
            if len(head) < FRAME.size:
                return
            first, flags, number = FRAME.unpack(head)
            payload = stream.read(first >> 8)
            if heard is not None:
                heard.append((first & 0xFF, flags, payload))
            if first & 0xFF == Frame.DATA and flags & Flag.END_STREAM:
                connection.sendall(b"".join(f if isinstance(f, bytes) else f(number) for f in frames))
                if frames != GRPC_OK:
                    then(connection)
                    return

    return handle


def grpc_answers(*answers: bytes) -> Handler:
    """Answer the n-th call with the n-th bytes; after the last, hang up once the client has had its turn."""

    def handle(connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        assert stream.read(len(http2.PREFACE)) == http2.PREFACE
        connection.sendall(http2.frame(Frame.SETTINGS, 0, 0))
        for answer in answers:
            kind, flags = Frame.SETTINGS, 0
            while not (kind == Frame.DATA and flags & Flag.END_STREAM):
                head = stream.read(FRAME.size)
                if len(head) < FRAME.size:
                    return
                first, flags, _ = FRAME.unpack(head)
                kind = Frame(first & 0xFF)
                stream.read(first >> 8)
            connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    return handle


def grpc_calls(connection: socket.socket, settings: bytes = b"") -> Iterator[tuple[int, bytes]]:
    """Greet, then each whole request as it comes: its stream and its message."""
    stream = connection.makefile("rb")
    assert stream.read(len(http2.PREFACE)) == http2.PREFACE
    connection.sendall(http2.frame(Frame.SETTINGS, 0, 0, settings))
    coming: dict[int, bytes] = {}
    while len(head := stream.read(FRAME.size)) == FRAME.size:
        first, flags, number = FRAME.unpack(head)
        payload = stream.read(first >> 8)
        if first & 0xFF == Frame.DATA:
            coming[number] = coming.get(number, b"") + payload
            if flags & Flag.END_STREAM:
                yield number, coming.pop(number)[5:]


def answer_of(stream: int, data: bytes, status: str = "0") -> list[bytes]:
    """The frames of an answer."""
    message = b"\0" + len(data).to_bytes(4, "big") + data
    return [
        START(stream),
        on_stream(Frame.DATA, 0, message)(stream),
        trailers(("grpc-status", status))(stream),
    ]
