"""An HTTP/1.1 server that strangers may reach, on a machine that is being measured: bounded in all it takes.

A connection has a time for its question and one for its answer, whatever comes in between, and a question has
a largest size. The number of connections is bounded, in all and for one address (`harness.guests`), and so is
the rate of questions. A browser gets nothing: what speaks to this is a program, and a page on somebody's
screen must not.
"""

from __future__ import annotations

import errno
import io
import json
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from harness.address import host_of, is_loopback, number
from harness.guests import Guests, Pace, address_of

HEAD_BYTES = 8192
BODY_BYTES = 4096
IDLE_S = 10.0
"""A connection without a question is closed after this."""
QUESTION_S = 5.0
"""How long a question may take from its first byte to its last."""
ANSWER_S = 30.0
"""How long a whole answer may take: a client that takes longer to read it is dropped."""
CONNECTIONS, CONNECTIONS_EACH = 64, 8
THREADS = 2 * CONNECTIONS
"""A connection that had to leave may still have one for a moment."""
AT_ONCE, PER_S = 200, 40.0
"""The questions and connections that one address may make: the clock takes 17, then a run 2 a second."""
METHODS = ("GET", "POST", "DELETE")
BREATH_S = 0.1
"""How long nothing is accepted where this process has no more descriptors or memory."""


class Refused(Exception):
    """A question that gets `status` and a sentence."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[Handler]) -> None:
        self.guests = Guests(CONNECTIONS, CONNECTIONS_EACH)
        self.pace = Pace(AT_ONCE, PER_S)
        self._seats = threading.BoundedSemaphore(THREADS)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without looking up this machine's full name, which takes seconds where DNS doesn't answer."""
        TCPServer.server_bind(self)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self.guests.dismiss()
                time.sleep(BREATH_S)  # the connection still waits to be accepted, and would be tried at once
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:
        address = address_of(client_address)
        return self.pace.take(address) and self.guests.enter(request, address)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._seats.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._seats.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._seats.release()

    def shutdown_request(self, request: Any) -> None:
        self.guests.leave(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class Incoming:
    """The questions that come over a connection, each in its time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._had = b""
        self._due = 0.0

    def head(self) -> bytes:
        """The next question up to its body; empty where the client is gone or has no more.

        Raises Refused for one that is too large, OSError for one that doesn't come in time.
        """
        if not self._had:
            self._due = time.monotonic() + IDLE_S
            self._more()
        self._due = time.monotonic() + QUESTION_S
        while True:
            ends = [at + len(end) for end in (b"\n\r\n", b"\n\n") if (at := self._had.find(end)) >= 0]
            if ends and min(ends) <= HEAD_BYTES:
                head, self._had = self._had[: min(ends)], self._had[min(ends) :]
                return head
            if len(self._had) > HEAD_BYTES:
                line = b"\n" not in self._had[:HEAD_BYTES]
                what, status = ("line", 414) if line else ("head", 431)
                raise Refused(status, f"the {what} of a question may have {HEAD_BYTES} bytes")
            if not self._more():
                return b""

    def body(self, size: int) -> bytes:
        """The next `size` bytes. Raises OSError where they don't come in the question's time."""
        while len(self._had) < size:
            if not self._more():
                raise ConnectionResetError
        body, self._had = self._had[:size], self._had[size:]
        return body

    def _more(self) -> bool:
        left_s = self._due - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        got = self._connection.recv(HEAD_BYTES)
        self._had += got
        return bool(got)


class Handler(BaseHTTPRequestHandler, ABC):
    """Answers questions by `answer`; what it refuses, and what goes wrong, is JSON with an `error`."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "harness-probe"
    sys_version = ""

    @abstractmethod
    def answer(self, body: bytes) -> tuple[int, Iterable[bytes]]:
        """Answer the question in `command`, `path` and `headers`: the number of bytes, and the bytes in
        pieces. Raises Refused."""

    def setup(self) -> None:
        self.connection = self.request
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.incoming = Incoming(self.connection)
        self.address = address_of(self.client_address)

    def finish(self) -> None:
        """Nothing is left to be sent."""

    def handle_one_request(self) -> None:
        self.close_connection = True
        self.requestline, self.request_version, self.command = "", "HTTP/1.1", ""
        self.wfile = io.BytesIO()  # the base class writes the answer's head there
        try:
            try:
                self._hear()
            except Refused as refused:
                self._send_error(refused.status, str(refused))
        except OSError:  # it is gone, or too slow
            self.close_connection = True

    def _hear(self) -> None:
        head = self.incoming.head()
        line, end, rest = head.partition(b"\n")
        self.raw_requestline, self.rfile = line + end, io.BytesIO(rest)
        if head and self.parse_request():
            self._answer()

    def _answer(self) -> None:
        if self.command not in METHODS:
            raise Refused(501, f"this answers {', '.join(METHODS)}")
        if not self.server.pace.take(self.address):
            raise Refused(429, f"{PER_S:g} questions a second are answered: ask less often")
        refuse_browsers(self.headers, str(self.server.server_address[0]))
        body = self.incoming.body(_length(self.headers, self.command))
        self.server.guests.serve(self.connection)
        try:
            size, pieces = self.answer(body)
        except Refused:
            raise
        except Exception as error:  # a client learns that something went wrong here, not where
            self.close_connection = True
            raise Refused(500, f"the probe failed: {type(error).__name__}") from error
        finally:
            self.server.guests.serve(self.connection, False)
        self._send(HTTPStatus.OK, size, pieces)

    def handle_expect_100(self) -> bool:
        """The body may come unasked, as small as it is."""
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Called for what the base class refuses: no HTTP, another version of it, or too many headers."""
        self._send_error(code, message or explain or "bad request")

    def _send_error(self, status: int, why: str) -> None:
        self.close_connection = True  # what it sent may not have been read
        body = json.dumps({"error": why}).encode()
        self._send(status, len(body), [body])

    def _send(self, status: int, size: int, pieces: Iterable[bytes]) -> None:
        self.wfile = io.BytesIO()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(size))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        due = time.monotonic() + ANSWER_S
        head = self.wfile.getvalue()
        for piece in pieces:
            self.connection.settimeout(max(0.001, due - time.monotonic()))
            self.connection.sendall(head + piece)  # whose limit is for the whole of it
            head = b""

    def log_message(self, *_: Any) -> None:
        """Log nothing: it would be a line each second."""


_OF_BROWSERS = ("Origin", "Referer", "Cookie", "Accept-Language", "Sec-Fetch-Site", "Sec-Fetch-Mode")
"""Headers of which a browser sends at least one, or else its name, whatever its script wants."""


def refuse_browsers(headers: Message, bound: str) -> None:
    """Raises Refused for a question that a page may have asked, under whatever name it has reached `bound`.

    A page can post forms to any address; and it can give a name of its own this address, to be taken for its
    own server (DNS rebinding). On loopback nothing has another name than localhost.
    """
    browser = any(name in headers for name in _OF_BROWSERS)
    if browser or "mozilla" in str(headers.get("User-Agent", "")).lower():
        raise Refused(403, "this is for `harness run --probe`, and nothing for a browser")
    host = str(headers.get("Host", "localhost")).strip().lower()
    name = host_of(host)
    if name != "localhost" and number(name) is None and is_loopback(bound):
        raise Refused(403, "this listens on loopback, where its name is localhost")


def _length(headers: Message, command: str) -> int:
    """The body's length: only a POST has a body. Raises Refused for one without a length, or too large."""
    lengths = headers.get_all("Content-Length", [])
    if "Transfer-Encoding" in headers or len(lengths) > 1:
        raise Refused(411, "the body must have one Content-Length")
    if not lengths and command != "POST":
        return 0
    length = str(lengths[0]) if lengths else ""
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        raise Refused(411, "the body must have a Content-Length")
    if int(length) > BODY_BYTES:
        raise Refused(413, f"the body may have {BODY_BYTES} bytes")
    return int(length)
