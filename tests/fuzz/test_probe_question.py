"""What `harness probe --serve` takes for a question, in whatever pieces it comes."""

from __future__ import annotations

import json
import socket
import threading
from unittest import mock

from hypothesis import strategies as st

from harness.probe.service import http_server
from harness.probe.service.probe_server import ProbeServer
from tests.fuzz import fuzz, mutated, pieces

QUESTIONS = (
    b"GET /v1/clock HTTP/1.1\r\nHost: 127.0.0.1:9400\r\nAccept-Encoding: identity\r\n\r\n",
    b"GET /v1/watches/0123456789abcdef?from=4096 HTTP/1.1\r\nHost: [::1]:9400\r\n\r\n",
    b"POST /v1/watches HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 22\r\n\r\n"
    b'{"interval_s": 0.0001}',
    b"DELETE /v1/watches/0 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST /v1/watches HTTP/1.1\nTransfer-Encoding: chunked\nExpect: 100-continue\n\n5\r\n{}",
    b"GET http://[x/v1/clock HTTP/1.1\r\nHost: \xff[\r\n\r\n",
)
server = ProbeServer("127.0.0.1", 0)


@fuzz(mutated(*QUESTIONS), st.lists(st.integers(0, 1 << 12), max_size=6))
def test_a_question_gets_an_answer_or_a_refusal(text: bytes, cuts: list[int]) -> None:
    """Never a failure of ours (500), nor a body that is no JSON; and the connection ends with the client."""
    ours, theirs = socket.socketpair()

    class Bound(server._http.RequestHandlerClass):  # type: ignore[misc,name-defined]
        def setup(self) -> None:
            self.connection = self.request
            self.incoming = http_server.Incoming(self.connection)
            self.address = "fuzz"

    class Unlimited:
        pace = mock.Mock(take=lambda _: True)
        guests = mock.Mock()
        server_address = ("127.0.0.1", 9400)

    answered = threading.Thread(target=lambda: (Bound(theirs, ("127.0.0.1", 1), Unlimited()), theirs.close()))
    with ours, mock.patch.object(server.watches, "begin", lambda *_: "0123456789abcdef"):
        answered.start()
        ours.settimeout(10)
        try:
            for piece in pieces(text, cuts):
                ours.sendall(piece)
            ours.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was refused before it had all come
        got = b""
        try:
            while piece := ours.recv(1 << 16):
                got += piece
        except ConnectionResetError:
            pass
        answered.join(10)
    assert not answered.is_alive()
    rest = got
    while rest.startswith(b"HTTP/1.1 "):
        head, _, rest = rest.partition(b"\r\n\r\n")
        assert head[9:10] in (b"2", b"4") or head[9:12] in (b"501", b"505"), head
        (length,) = (int(line[15:]) for line in head.splitlines() if line.startswith(b"Content-Length:"))
        body, rest = rest[:length], rest[length:]
        json.loads(body.splitlines()[0])
    assert not rest or set(json.loads(rest)) == {"error"}  # what is no HTTP/1 gets a body alone
