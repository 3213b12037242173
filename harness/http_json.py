"""HTTP/1.1 with small answers, mostly JSON, bounded in bytes and in time whatever the server sends.

A time limit of http.client is one of silence: a server that sends a byte now and then is never late, and
one that sends for ever is read for ever. Here one deadline holds for connecting, sending and the whole
answer, and an answer has no more bytes than its limit. Redirects are not followed, nothing is decompressed.
"""

from __future__ import annotations

import json
import math
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from types import TracebackType
from typing import Any, NamedTuple, Self

from harness.address import is_unix
from harness.plain_text import quoted

HTTPS_PORT = 443
MOST_BYTES = 4 << 20
"""Bytes of an answer; a Triton's statistics, configurations and index of models have some kilobytes. What
JSON says in that many bytes takes less than a hundred megabytes of memory."""

_LARGEST = 1 << 64
_TITLE = re.compile(r"<title>([^<]{1,200})</title>", re.IGNORECASE)
_PIECE_BYTES = 1 << 16
_MOST_SAID_BYTES = 1 << 16


class Answer(NamedTuple):
    status: int
    body: bytes


class Client:
    """Asks one server, over a connection that is kept as long as the server keeps it, until `close`.

    `host` may be an IPv6 address, without brackets. `headers` go with every request. With `tls` the server
    must prove that it is `host`, as that context asks. `at` is which of the host's numbers is meant, where it
    has several. One thread at a time may use it.
    """

    def __init__(
        self,
        host: str,
        port: int,
        headers: Mapping[str, str] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        at: str | None = None,
    ) -> None:
        self._http = _Connection(host, port, tls, at)
        self._headers = dict(headers or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def connect(self, limit_s: float) -> None:
        """Connect now rather than in the first question. Raises OSError."""
        self._http.due = time.monotonic() + limit_s
        self._http.connect()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        limit_s: float,
        most_bytes: int = MOST_BYTES,
    ) -> Answer:
        """The answer, whatever its status, to a request with `body`, which is JSON.

        `limit_s` bounds all of it but the look-up of the host's name, which has the resolver's own limit.
        Raises OSError where there is no answer (TimeoutError: none that is whole in time), HTTPException for
        one that is no HTTP or too long.
        """
        self._http.until(time.monotonic() + limit_s)
        headers = self._headers
        if body is not None:
            headers = headers | {"Content-Type": "application/json"}
        try:
            self._http.request(method, path, body, headers)
            with self._http.getresponse() as response:
                return Answer(response.status, _whole(response, most_bytes))
        except ssl.SSLError:  # a ValueError too, where it is of a certificate
            self.close()
            raise
        except ValueError as error:  # of a path or a name that can't be sent, and of numbers in an answer
            self.close()
            raise HTTPException(str(error)) from error
        except BaseException:
            self.close()
            raise


def parsed(body: bytes, largest: int = _LARGEST) -> Any:
    """The JSON in `body`. ValueError for anything else, and for JSON that nobody can go on with.

    That is: NaN and infinite numbers, whole numbers whose size is not below `largest`, text that has no
    encoding, and nesting that is deeper than the parser goes.
    """
    try:
        text = body.decode()
        document = _decoder(largest).decode(text)
        if "\\u" in text:
            json.dumps(document, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return document


@lru_cache
def _decoder(largest: int) -> json.JSONDecoder:
    def whole(digits: str) -> int:
        number = int(digits) if len(digits) <= 24 else largest
        if abs(number) >= largest:
            raise ValueError(f"a number of {len(digits)} digits")
        return number

    def real(digits: str) -> float:
        number = float(digits)
        if not math.isfinite(number):
            raise ValueError("a number without bounds")
        return number

    def constant(name: str) -> float:
        raise ValueError(f"{name} is no number")

    return json.JSONDecoder(parse_int=whole, parse_float=real, parse_constant=constant)


def refusal(body: bytes) -> str:
    """What a refusal says: {"error": "…"}, as Triton has it, or the text of somebody else's page.
    To be shown through `quoted`."""
    with suppress(ValueError):
        if isinstance(answer := parsed(body), dict):
            said = answer.get("error")
            return said if isinstance(said, str) else ""
    said = body[:_MOST_SAID_BYTES].decode(errors="replace")
    title = _TITLE.search(said)  # of a page, as proxies give them
    return title[1].strip() if title else said


def words(error: OSError | HTTPException) -> str:
    """Why there was no answer, for a sentence."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    reason = error.strerror if isinstance(error, OSError) else None
    return quoted(reason or str(error), 200) or type(error).__name__


def _whole(response: HTTPResponse, most_bytes: int) -> bytes:
    body = bytearray()
    while got := response.read1(_PIECE_BYTES):
        body += got
        if len(body) > most_bytes:
            raise HTTPException(f"its answer is longer than {most_bytes} bytes")
    if response.length:
        raise HTTPException("its answer ended before it was whole")
    return bytes(body)


class _Bounded(socket.socket):
    """Waits no longer than until `due`, in all calls together."""

    due = 0.0

    def wait_until_due(self) -> None:
        left = self.due - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)

    def recv_into(self, *buffer: Any) -> int:
        self.wait_until_due()
        return super().recv_into(*buffer)

    def sendall(self, *data: Any) -> None:
        self.wait_until_due()  # which bounds the whole of it
        super().sendall(*data)


class _BoundedTls(_Bounded, ssl.SSLSocket):
    """The same, encrypted."""


class _Connection(HTTPConnection):
    due = 0.0
    sock: _Bounded | None

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, at: str | None = None) -> None:
        self._tls, self._at = tls, at
        if tls is not None:
            tls.sslsocket_class = _BoundedTls
            self.default_port = HTTPS_PORT
        super().__init__(host, port)

    def until(self, due: float) -> None:
        self.due = due
        if self.sock is not None:
            self.sock.due = due

    def connect(self) -> None:
        failed: OSError | None = None
        for family, kind, protocol, _, address in _addresses(self._at or self.host, self.port):
            tried = _Bounded(family, kind, protocol)
            try:
                tried.due = self.due
                tried.wait_until_due()
                tried.connect(address)
                if family != socket.AF_UNIX:
                    tried.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                tried = self._encrypted(tried)
            except OSError as error:
                tried.close()
                failed = error
            else:
                self.sock = tried
                return
        raise failed or OSError("the host has no address")

    def _encrypted(self, plain: _Bounded) -> _Bounded:
        """`plain`, or where there is to be TLS, what takes its place."""
        if self._tls is None:
            return plain
        plain.wait_until_due()  # which bounds the handshake as a whole
        wrapped = self._tls.wrap_socket(plain, server_hostname=self.host)
        assert isinstance(wrapped, _BoundedTls)
        wrapped.due = self.due
        return wrapped


def _addresses(host: str, port: int) -> list[Any]:
    if is_unix(host):
        return [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", host)]
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError("the host's name is none") from error
