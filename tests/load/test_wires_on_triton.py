"""Both wires against the real Triton, beside tritonclient's own answers."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from harness.load.wire import open_connection, prepare
from harness.load.wire.grpc.grpc_channel import GrpcChannel
from harness.load.wire.grpc.grpc_connection import GrpcConnection
from harness.schema.samples import Status
from harness.schema.scenario import Compression, Protocol
from harness.schema.tensors import Tensors
from harness.triton.embedded import EmbeddedServer
from tests.load.triton_models import TYPES

pytestmark = pytest.mark.triton
both = pytest.mark.parametrize("protocol", ["http", "grpc"])


def port(triton: EmbeddedServer, protocol: Protocol) -> int:
    return triton.http_port if protocol == "http" else triton.grpc_port


def plain_answer(triton: EmbeddedServer, protocol: Protocol, model: str, inputs: Tensors) -> np.ndarray:
    """What tritonclient says, with nothing of harness in between."""
    if protocol == "http":
        import tritonclient.http as client
    else:
        import tritonclient.grpc as client
    tensor = client.InferInput("X", list(inputs["X"].shape), "FP32")
    tensor.set_data_from_numpy(inputs["X"])
    with client.InferenceServerClient(f"127.0.0.1:{port(triton, protocol)}") as connected:
        answer = connected.infer(model, [tensor], outputs=[client.InferRequestedOutput("Y")])
    return answer.as_numpy("Y")


@both
def test_answers_are_those_of_tritonclient_byte_for_byte(triton: EmbeddedServer, protocol: Protocol) -> None:
    rng = np.random.default_rng(5)
    connection = open_connection(protocol, "127.0.0.1", port(triton, protocol), 30)
    for shape in ((1, 1), (1, 64), (8, 300), (3, 5000), (2, 4_093)):
        inputs: Tensors = {"X": rng.random(shape, np.float32)}
        request = prepare(protocol, "echo", inputs, ["Y"], "127.0.0.1")
        reply = connection.call(request, keep_body=True)
        assert reply.status is Status.OK, reply
        assert connection.decode(reply)["Y"].tobytes() == inputs["X"].tobytes()
        plain = plain_answer(triton, protocol, "echo", inputs)
        assert connection.decode(reply)["Y"].tobytes() == plain.tobytes()
        assert reply.sent_ns < reply.first_byte_ns <= reply.completed_ns
        assert reply.sent_bytes > inputs["X"].nbytes and reply.received_bytes > inputs["X"].nbytes
    connection.close()


@both
@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_a_request_may_be_compressed(
    triton: EmbeddedServer, protocol: Protocol, compression: Compression
) -> None:
    inputs: Tensors = {"X": np.tile(np.arange(8, dtype=np.float32), (4, 500))}
    plain = prepare(protocol, "echo", inputs, ["Y"], "127.0.0.1")
    request = prepare(protocol, "echo", inputs, ["Y"], "127.0.0.1", compression=compression)
    assert len(request) < len(plain) / 10
    connection = open_connection(protocol, "127.0.0.1", port(triton, protocol), 30, compression=compression)
    for _ in range(2):
        reply = connection.call(request, keep_body=True)
        assert reply.status is Status.OK, reply
        assert np.array_equal(connection.decode(reply)["Y"], inputs["X"])
    connection.close()


@both
def test_outputs_left_out_means_all_of_them(triton: EmbeddedServer, protocol: Protocol) -> None:
    connection = open_connection(protocol, "127.0.0.1", port(triton, protocol), 30)
    request = prepare(protocol, "echo", {"X": np.ones((1, 2), np.float32)}, [], "127.0.0.1")
    reply = connection.call(request, keep_body=True)
    assert connection.decode(reply)["Y"].tolist() == [[1, 1]]
    connection.close()


@both
def test_25_megabytes_go_and_come_back_whole(triton: EmbeddedServer, protocol: Protocol) -> None:
    inputs: Tensors = {"X": np.random.default_rng(5).random((5, 1_310_720), np.float32)}
    request = prepare(protocol, "echo", inputs, ["Y"], "127.0.0.1")
    connection = open_connection(protocol, "127.0.0.1", port(triton, protocol), 60)
    for _ in range(2):
        reply = connection.call(memoryview(request), keep_body=True)
        assert reply.status is Status.OK, reply
        assert connection.decode(reply)["Y"].tobytes() == inputs["X"].tobytes()
    reply = connection.call(memoryview(request))
    assert reply.status is Status.OK and reply.received_bytes > inputs["X"].nbytes and reply.body is None
    small = prepare(protocol, "echo", {"X": np.ones((1, 2), np.float32)}, ["Y"], "127.0.0.1")
    assert connection.call(small).status is Status.OK
    connection.close()


@both
def test_a_refusal_is_told_in_tritons_words_and_keeps_the_connection(
    triton: EmbeddedServer, protocol: Protocol
) -> None:
    connection = open_connection(protocol, "127.0.0.1", port(triton, protocol), 30)
    good = prepare(protocol, "moody", {"X": np.zeros((1, 2), np.float32)}, ["Y"], "127.0.0.1")
    moody = prepare(protocol, "moody", {"X": np.full((1, 2), -1, np.float32)}, ["Y"], "127.0.0.1")
    nowhere = prepare(protocol, "no such model", {"X": np.ones((1, 2), np.float32)}, [], "127.0.0.1")
    large = prepare(protocol, "moody", {"X": np.zeros((65, 2), np.float32)}, ["Y"], "127.0.0.1")
    assert connection.call(good).status is Status.OK
    for request, words in (
        (moody, "the model is in a mood: 100% ü"),
        (nowhere, "unknown model"),
        (large, "batch-size must be <= 64"),
    ):
        reply = connection.call(request, keep_body=True)
        assert reply.status is Status.REFUSED and reply.body is None
        assert reply.reason is not None and words in reply.reason
        assert connection.connected
    assert connection.call(good).status is Status.OK
    connection.close()


@both
def test_a_slow_answer_is_a_timeout_and_the_next_call_is_right(
    triton: EmbeddedServer, protocol: Protocol
) -> None:
    connection = open_connection(protocol, "127.0.0.1", port(triton, protocol), 0.3)
    slow = prepare(protocol, "moody", {"X": np.full((1, 2), 0.8, np.float32)}, ["Y"], "127.0.0.1")
    good = prepare(protocol, "moody", {"X": np.zeros((1, 2), np.float32)}, ["Y"], "127.0.0.1")
    brief = prepare(protocol, "moody", {"X": np.full((1, 2), 0.1, np.float32)}, ["Y"], "127.0.0.1")
    for _ in range(4):  # each call has the whole time for itself
        assert connection.call(brief).status is Status.OK
    reply = connection.call(slow)
    assert (reply.status, reply.reason) == (Status.TIMEOUT, "no answer within 0.3 s")
    assert 0.3 <= (reply.completed_ns - reply.sent_ns) / 1e9 < 0.7
    assert reply.first_byte_ns == -1 and not connection.connected
    assert connection.call(good).status is Status.OK
    assert connection.call(brief).status is Status.OK
    connection.close()


def test_a_grpc_connection_is_renewed_before_its_stream_numbers_run_out(triton: EmbeddedServer) -> None:
    channel = GrpcChannel("127.0.0.1", triton.grpc_port)
    connection = GrpcConnection(channel, 30)
    request = prepare("grpc", "echo", {"X": np.ones((1, 2), np.float32)}, ["Y"], "")
    connection.connect()
    assert channel._connection is not None
    channel._connection.incoming.last_stream = 2**31 - 5
    for left in (True, False, True):
        assert connection.call(request).status is Status.OK
        assert connection.connected is left
    connection.close()


@both
def test_every_data_type_comes_back_byte_for_byte(triton: EmbeddedServer, protocol: Protocol) -> None:
    """Each input goes through the model unchanged; tritonclient gets the same answer to the same question."""
    inputs = {name: values(name) for name in TYPES}
    connection = open_connection(protocol, "127.0.0.1", port(triton, protocol), 30)
    reply = connection.call(prepare(protocol, "types", inputs, TYPES, "127.0.0.1"), keep_body=True)
    assert (reply.status, reply.reason) == (Status.OK, None)
    ours = connection.decode(reply)
    connection.close()

    client: Any = importlib.import_module(f"tritonclient.{protocol}")
    tensors = []
    for name in TYPES:
        tensor = client.InferInput(name, list(inputs[name].shape), name)
        tensor.set_data_from_numpy(inputs[name])
        tensors.append(tensor)
    with client.InferenceServerClient(f"127.0.0.1:{port(triton, protocol)}") as connected:
        asked = [client.InferRequestedOutput(name) for name in TYPES]
        theirs = connected.infer("types", tensors, outputs=asked)
    for name in TYPES:
        mine, plain, sent = ours[name], theirs.as_numpy(name), inputs[name]
        assert (mine.dtype, mine.shape) == (plain.dtype, plain.shape)
        assert mine.tobytes() == plain.tobytes() == sent.tobytes()


def values(name: str) -> np.ndarray:
    """Two rows of every kind of value that a type has."""
    rng = np.random.default_rng(3)
    if name == "BOOL":
        return rng.random((2, 7)) < 0.5
    if name.startswith("FP"):
        special = np.array([[np.nan, np.inf, -np.inf, -0.0], [0.0, 1e-7, -1.5, 60_000.0]])
        return special.astype(f"float{name[2:]}")
    kind = np.dtype(name.lower())
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, (2, 7), dtype=kind, endpoint=True)
