"""HTTP/1 answers on the one client of HTTP that isn't load."""

from __future__ import annotations

import socket
from http.client import HTTPException

from hypothesis import strategies as st

from harness.http_json import Client, _Bounded, words
from tests.fuzz import fuzz, mutated
from tests.fuzz.test_http_answers import SAMPLES

MOST = 1000


@fuzz(
    mutated(*SAMPLES, b"HTTP/1.1 100 Continue\r\n\r\n", b"Location: /\r\n", b"-5\r\n", b"\x80: \xff\r\n"),
    st.booleans(),
)
def test_an_answer_is_whole_or_a_reason(text: bytes, twice: bool) -> None:
    ours, theirs = socket.socketpair()
    with Client("localhost", 1) as client, theirs:
        client._http.sock = _Bounded(fileno=ours.detach())
        theirs.sendall(text * (1 + 30 * twice))
        theirs.shutdown(socket.SHUT_WR)
        try:
            status, body = client.ask("GET", "/", limit_s=5, most_bytes=MOST)
        except (OSError, HTTPException) as error:
            assert words(error).isprintable() and 0 < len(words(error)) <= 200
        else:
            assert 100 <= status <= 999 and len(body) <= MOST
