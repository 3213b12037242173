"""The least of HTTP/1.1 that a request takes (RFC 9112), one at a time on a blocking socket.

It shares nothing with `harness.load.wire`, which is measured against it.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import BinaryIO

OK = b"HTTP/1.1 200 "


class PlainHttp:
    """A kept-alive connection that posts to one path."""

    def __init__(self, host: str, port: int, path: str, headers: Mapping[str, str]) -> None:
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}:{port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = "\r\n".join(lines).encode("ascii")
        self._socket = socket.create_connection((host, port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._incoming: BinaryIO = self._socket.makefile("rb")

    def ask(self, body: bytes) -> bytes:
        """The answer's body. Raises ConnectionError for one that isn't 200, or has no length."""
        self._socket.sendall(self._head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        status = self._incoming.readline()
        length = None
        while (line := self._incoming.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not status.startswith(OK) or length is None:
            raise ConnectionError(f"the server answered {status.decode('latin-1').strip()!r}")
        return self._incoming.read(length)
