"""HTTP/1 answers on the load's connection."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import strategies as st

from harness.load.wire.http import HttpConnection
from harness.schema.errors import ServerError
from harness.schema.samples import Status
from tests.fuzz import fuzz, mutated, pieces
from tests.fuzz.answers import Pieces, check

JSON = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}'
SAMPLES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
    b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
    % (len(JSON), len(JSON) + 8)
    + JSON
    + bytes(8),
    b'HTTP/1.1 400 Bad Request\r\nContent-Length: 15\r\n\r\n{"error":"bad"}',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nA: b\r\n\r\n",
    b'HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"error":\r\n2\r\n""\r\n1\r\n}\r\n0\r\n\r\n',
    b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"ffffffffffffffff\r\n",
)


@fuzz(mutated(*SAMPLES), st.lists(st.integers(0, 1 << 16), max_size=4), st.booleans(), st.booleans())
def test_an_answer_is_right_or_a_failure_with_a_reason(
    answer: bytes, cuts: list[int], keep_body: bool, twice: bool
) -> None:
    connection = HttpConnection("127.0.0.1", 1, 5)
    connection._stream = Pieces(pieces(answer * (1 + twice), cuts))
    for _ in range(1 + twice):
        if not connection.connected:
            break
        reply = connection.call(b"request", keep_body)
        check(reply, keep_body)
        if reply.body is not None:
            assert reply.status is Status.OK and len(reply.body) <= len(answer)
            with suppress(ServerError):
                connection.decode(reply)
    connection.close()
