"""One client of HTTP for all that isn't load: bounded in time and bytes, whoever answers."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from harness.http_json import Client, parsed, words
from tests.load.rogue import rogue_server

LIMIT_S = 0.5
LONG_S = 5.0
"""Far over the limit, and over what a busy machine adds."""
MOST = 100_000

Sends = Callable[[socket.socket], object]


def after_the_question(send: Sends) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        connection.recv(4096)
        send(connection)

    return handle


def dripping(text: bytes) -> Sends:
    """A byte at a time, each well within the limit."""

    def send(connection: socket.socket) -> None:
        for at in range(len(text)):
            connection.sendall(text[at : at + 1])
            time.sleep(0.1)

    return send


def flooding(first: bytes, part: bytes) -> Sends:
    def send(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(part)

    return send


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TOO_LONG = f"its answer is longer than {MOST} bytes"
ATTACKS: dict[str, tuple[Sends, type[Exception], str]] = {
    "silence": (lambda c: c.recv(1), TimeoutError, "no answer in time"),
    "a drip of a head": (dripping(OK + b"a: b\r\n" * 50), TimeoutError, "no answer in time"),
    "a drip of a body": (
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + bytes(900)),
        TimeoutError,
        "no answer in time",
    ),
    "a drip of chunks": (dripping(CHUNKED + b"1\r\nx\r\n" * 50), TimeoutError, "no answer in time"),
    "a body without end": (flooding(OK + b"\r\n", bytes(65536)), HTTPException, TOO_LONG),
    "chunks without end": (
        flooding(CHUNKED, (b"40\r\n" + bytes(64) + b"\r\n") * 100),
        HTTPException,
        TOO_LONG,
    ),
    "a chunk of less than nothing": (flooding(CHUNKED + b"-5\r\n", bytes(65536)), HTTPException, TOO_LONG),
    "10 TB": (
        flooding(OK + b"Content-Length: 10000000000000\r\n\r\n", bytes(65536)),
        HTTPException,
        TOO_LONG,
    ),
    "1xx without end": (
        flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        TimeoutError,
        "no answer in time",
    ),
    "trailers without end": (
        flooding(CHUNKED + b"0\r\n", b"a: b\r\n" * 1000),
        TimeoutError,
        "no answer in time",
    ),
    "headers without end": (flooding(OK, b"a: b\r\n" * 1000), HTTPException, "got more than 100 headers"),
    "a header without end": (flooding(OK + b"a: ", bytes(65536)), HTTPException, "got more than 65536 bytes"),
    "no HTTP": (lambda c: c.sendall(b"\x1b[2J" * 100), HTTPException, "[2J"),
    "half a body": (
        lambda c: c.sendall(OK + b"Content-Length: 9\r\n\r\nhalf"),
        HTTPException,
        "its answer ended before it was whole",
    ),
    "half a chunk": (lambda c: c.sendall(CHUNKED + b"9\r\nhalf"), HTTPException, "IncompleteRead"),
    "hung up": (lambda c: c.shutdown(socket.SHUT_RDWR), OSError, ""),
}


@pytest.mark.parametrize("case", ATTACKS)
def test_every_answer_ends_in_time_and_has_a_reason(case: str) -> None:
    attack, kind, why = ATTACKS[case]
    with rogue_server(after_the_question(attack)) as port, Client("127.0.0.1", port) as client:
        began = time.monotonic()
        with pytest.raises((OSError, HTTPException)) as caught:
            client.ask("GET", "/", limit_s=LIMIT_S, most_bytes=MOST)
        assert time.monotonic() - began < LONG_S
    assert isinstance(caught.value, kind)
    assert why in words(caught.value) and len(words(caught.value)) <= 200
    assert words(caught.value).isprintable()


def test_one_who_does_not_read_the_question_is_late() -> None:
    with (
        rogue_server(lambda _: time.sleep(LONG_S)) as port,
        Client("127.0.0.1", port) as client,
        pytest.raises(TimeoutError),
    ):
        client.ask("POST", "/", bytes(30_000_000), limit_s=LIMIT_S)


class Echo(BaseHTTPRequestHandler):
    """Says what it was asked, and sends others away."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        away = self.path == "/away"
        body = (
            f"{self.headers['X-Secret']} {self.headers['Host']} {self.connection.getpeername()[1]}".encode()
        )
        self.send_response(302 if away else 200)
        if away:
            self.send_header("Location", "/here")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Six(HTTPServer):
    address_family = socket.AF_INET6


@pytest.mark.parametrize(
    ("server", "host", "named"), [(HTTPServer, "127.0.0.1", "127.0.0.1"), (Six, "::1", "[::1]")]
)
def test_headers_are_sent_on_a_kept_connection_and_nobody_is_followed(
    server: type[HTTPServer], host: str, named: str
) -> None:
    try:
        there = server((host, 0), Echo)
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = there.server_port
    threading.Thread(target=there.serve_forever, args=(0.01,), daemon=True).start()
    with Client(host, port, {"X-Secret": "abc"}) as client:
        answers = [client.ask("GET", path, limit_s=LONG_S) for path in ("/here", "/away", "/here")]
    there.shutdown()
    there.server_close()
    assert [status for status, _ in answers] == [200, 302, 200]
    (said,) = {body.decode() for _, body in answers}
    assert said.startswith(f"abc {named}:{port} ")


def test_what_cannot_be_asked_is_no_answer() -> None:
    with rogue_server(lambda c: c.recv(1)) as port, Client("127.0.0.1", port) as client:
        for path in ("/a b", "/ü", "/a\r\nX: y"):
            with pytest.raises(HTTPException):
                client.ask("GET", path, limit_s=LIMIT_S)
    for host in ("a" * 70, "no-such-host.invalid"):
        with pytest.raises(OSError), Client(host, 1) as client:
            client.ask("GET", "/", limit_s=LONG_S)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"1" + b"0" * 5000,
        b"18446744073709551616",
        b"-18446744073709551616",
        b'"\\ud800"',
        b'{"\\udfff": 1}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 900 + b'"\\u0000"' + b"]" * 900 + b",",
    ],
)
def test_json_that_nobody_can_go_on_with_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        parsed(text)


def test_json_is_what_it_says() -> None:
    text = (
        b'{"a": [18446744073709551615, -1, 1e-3, true, null], "\\u00fc": "\\ud83d\\ude00 \xf0\x9f\x98\x80"}'
    )
    assert parsed(text) == {"a": [2**64 - 1, -1, 0.001, True, None], "ü": "😀 😀"}
    assert math.isclose(parsed(b"1.5e300"), 1.5e300)
    with pytest.raises(ValueError):
        parsed(b"8", 8)
