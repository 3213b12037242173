"""The plain clients that the wire is measured with: they take every answer, and no failure for one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from harness.calibration.plain_http import PlainHttp
from harness.calibration.plain_http2 import PlainHttp2
from harness.calibration.wire import Wire
from harness.schema.errors import ServerError
from harness.schema.samples import Window

PATH = "/inference.GRPCInferenceService/ModelInfer"


@contextmanager
def google(answer: Callable[[bytes, Any], bytes]) -> Iterator[int]:
    """Google's own gRPC server, on a port; messages are bytes both ways."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            assert handler_call_details.method == PATH
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None)


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def test_grpc_answers_come_whole_for_longer_than_a_window_of_http2() -> None:
    with google(lambda message, _: message * 50) as port:
        connection = PlainHttp2("127.0.0.1", port, PATH)
        for number in range(60):
            message = b"%05d" % number * 100
            assert connection.answer(framed(message)) == framed(message * 50)


def test_a_grpc_error_is_no_answer() -> None:
    def refuse(_: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.UNAVAILABLE, "not today")
        return b""

    with google(refuse) as port:
        assert PlainHttp2("127.0.0.1", port, PATH).answer(framed(b"x")) == b""


def test_a_server_that_goes_away_is_an_error_of_http2() -> None:
    with once(b"") as port, pytest.raises(ConnectionError):
        PlainHttp2("127.0.0.1", port, PATH).answer(framed(b"x"))


@contextmanager
def once(*pieces: bytes) -> Iterator[int]:
    """A server that reads a little, says these pieces and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                for piece in pieces:
                    peer.sendall(piece)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def test_an_http_answer_in_pieces_comes_whole() -> None:
    with once(b"HTTP/1.1 200 OK\r\nX: y\r\nconTent-", b"Length: 5\r\n\r\nhe", b"llo") as port:
        assert PlainHttp("127.0.0.1", port, "/x", {"A": "b"}).ask(b"body") == b"hello"


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b""]
)
def test_what_is_no_http_answer_is_an_error(said: bytes) -> None:
    with once(said) as port, pytest.raises(ConnectionError, match="the server answered"):
        PlainHttp("127.0.0.1", port, "/x", {}).ask(b"")


def test_the_wire_is_what_was_answered_within_the_window(tmp_path: Path) -> None:
    wire = Wire(tmp_path / "wire.txt")
    wire.file.write_text(
        "10 5000000\n20 1000000\n30 2000000\n40 9000000\n50 3000000\nConnectionError: it end"
    )
    found = wire.during(Window(15, 45))
    assert found.at_ns.tolist() == [20, 30, 40]
    assert found.seconds.tolist() == [0.001, 0.002, 0.009]
    with pytest.raises(ServerError, match="was not answered"):
        wire.during(Window(60, 70))
