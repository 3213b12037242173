"""Run as a process: a call to a server that has very much to say. It prints how it ended, and its memory."""

from __future__ import annotations

import json
import resource
import socket
import sys
from collections.abc import Callable

from harness.load.wire import open_connection
from harness.load.wire.grpc import http2
from harness.load.wire.grpc.http2 import Frame
from harness.schema.scenario import Protocol
from tests.load.rogue import Handler, grpc_says, http_says, rogue_server

REQUEST = b"POST /x HTTP/1.1\r\n\r\nend"
PIECE = bytes(1 << 20)
PIECES = 200
REFUSED = b"HTTP/1.1 400 No\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def many(part: bytes, end: bytes = b"", times: int = PIECES) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        for _ in range(times):
            connection.sendall(part)
        connection.sendall(end)
        connection.recv(1)

    return send


def length(pieces: int) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % (pieces * len(PIECE))


CHUNK = b"%x\r\n" % len(PIECE) + PIECE + b"\r\n"
ONE_CHUNK = b"%x\r\n" % (PIECES * len(PIECE))
LAST = b"0\r\n\r\n"


def pings_unheard(connection: socket.socket) -> None:
    ping = http2.frame(Frame.PING, 0, 0, b"12345678") * 60_000
    while True:
        connection.sendall(ping)


CASES: dict[str, tuple[Protocol, Handler]] = {
    "a refusal in chunks": ("http", http_says(REFUSED + CHUNKED, many(CHUNK, LAST))),
    "a refusal in one chunk": ("http", http_says(REFUSED + CHUNKED + ONE_CHUNK, many(PIECE, b"\r\n" + LAST))),
    "a refusal of its length": ("http", http_says(REFUSED + length(PIECES), many(PIECE))),
    "a refusal of 10 TB": ("http", http_says(REFUSED + length(10_000_000), many(PIECE))),
    "a success in chunks": ("http", http_says(OK + CHUNKED, many(CHUNK, LAST))),
    "pings": ("grpc", grpc_says(then=pings_unheard)),
}

if __name__ == "__main__":
    protocol, handler = CASES[sys.argv[1]]
    with rogue_server(handler) as port:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        connection = open_connection(protocol, "127.0.0.1", port, 2)
        reply = connection.call(REQUEST)
        connection.close()
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"status": reply.status.name, "reason": reply.reason, "more_bytes": more * 1024}))
