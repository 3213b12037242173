"""The least of HTTP/2 that a gRPC call takes (RFC 9113), one at a time on a blocking socket.

It shares nothing with `harness.load.wire`, which is measured against it.
"""

from __future__ import annotations

import socket
import struct
from typing import BinaryIO

from hpack import Encoder, NeverIndexedHeaderTuple

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW = (2**31 - 1 - 65535).to_bytes(4, "big")
"""Room for all answers that will ever come, so that no more is said of windows."""


class PlainHttp2:
    """A connection to one gRPC method."""

    def __init__(self, host: str, port: int, path: str) -> None:
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": f"{host}:{port}",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        # Never indexed: the bytes mean the same however often they are sent.
        self._headers = Encoder().encode([NeverIndexedHeaderTuple(*field) for field in fields.items()])
        self._stream = -1
        self._socket = socket.create_connection((host, port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._incoming: BinaryIO = self._socket.makefile("rb")
        self._socket.sendall(PREFACE + _frame(SETTINGS, 0, 0) + _frame(WINDOW_UPDATE, 0, 0, WINDOW))

    def answer(self, message: bytes) -> bytes:
        """Send one message, and return what came back up to the end of its stream; empty for an error.

        `message` has gRPC's five bytes before it, and so has the answer. Raises ConnectionError when the
        server ends the connection or the stream.
        """
        self._stream += 2
        self._socket.sendall(
            _frame(HEADERS, END_HEADERS, self._stream, self._headers)
            + _frame(DATA, END_STREAM, self._stream, message)
        )
        answer = b""
        while True:
            kind, flags, stream, payload = self._read()
            if kind in (SETTINGS, PING) and not flags & ACK:
                self._socket.sendall(_frame(kind, ACK, 0, payload if kind == PING else b""))
            elif kind in (GOAWAY, RST_STREAM):
                raise ConnectionError("the server ended the connection or the call")
            elif stream == self._stream:
                if kind == DATA:
                    answer += payload
                if kind in (DATA, HEADERS) and flags & END_STREAM:
                    return answer

    def _read(self) -> tuple[int, int, int, bytes]:
        head = self._incoming.read(9)
        if len(head) < 9:
            raise ConnectionError("the server closed the connection")
        high, low, kind, flags, stream = struct.unpack(">BHBBL", head)
        return kind, flags, stream & 0x7FFFFFFF, self._incoming.read(high << 16 | low)


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BHBBL", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload
