"""Triton's gRPC protocol: one unary ModelInfer a call, as fixed HTTP/2 frames around a prepared message."""

from __future__ import annotations

import struct
from time import monotonic_ns
from typing import TYPE_CHECKING

from harness.load.wire.connection import Connection, Fault
from harness.load.wire.grpc.grpc_answer import PREFIX_BYTES, Answer
from harness.load.wire.grpc.grpc_messages import decoded, refusal
from harness.load.wire.grpc.http2_connection import Http2Connection
from harness.schema.samples import Status
from harness.schema.tensors import Tensors

if TYPE_CHECKING:
    from harness.load.wire.grpc.grpc_channel import GrpcChannel
    from harness.load.wire.stream import Buffer

_PREFIX = struct.Struct(">BI")
"""Before each gRPC message: compressed, length."""


class GrpcConnection(Connection):
    """One user's calls, one after the other, over a channel that other users may share."""

    def __init__(self, channel: GrpcChannel, timeout_s: float) -> None:
        super().__init__(channel.host, channel.port, timeout_s)
        self._channel = channel
        self._answer = Answer(self._deadline.check)
        self._used: Http2Connection | None = None
        self._had_answered = False
        """Whether the connection had done so when the call in hand was sent."""

    @property
    def connected(self) -> bool:
        used = self._used
        return (used is not None and not used.retired) or self._channel.connected

    @property
    def _kept_alive(self) -> bool:
        return self._had_answered

    def _connect(self) -> None:
        self._channel.connect(self.alone)

    def _drop(self) -> None:
        if self._used is not None:
            self._used.abandon(self._answer)
            self._used = None

    def close(self) -> None:
        self._deadline.close()
        self._channel.leave()

    def _exchange(self, prepared: Buffer, keep_body: bool) -> str | None:
        answer = self._answer
        answer.keeps = self.keeps
        connection = self._used
        if connection is None or connection.retired or connection.turn.locked():
            self._had_answered = False
            self._used = connection = self._channel.free(self.alone)
        self._had_answered = connection.has_answered
        try:
            self._sent_ns = monotonic_ns()
            self._sent_bytes = self._channel.send(connection, answer, prepared, keep_body)
            connection.wait(answer)
        finally:
            self._first_byte_ns = answer.first_byte_ns
            self._received_bytes = answer.received_bytes
        self._completed_ns = answer.ended_ns
        if answer.familiar:
            return None
        reason = self._outcome(answer)
        if reason is None and answer.whole is not None:
            connection.incoming.familiar.learn(answer.whole, answer.stream_id)
        if answer.message is not None and reason is None:
            self._body = bytes(memoryview(answer.message)[PREFIX_BYTES:])
        return reason

    def _outcome(self, answer: Answer) -> str | None:
        reason = refusal(answer.first, answer.last)
        if reason is not None:
            return reason
        if len(answer.prefix) < PREFIX_BYTES:
            raise Fault(Status.PROTOCOL, "an answer without a message")
        compressed, length = _PREFIX.unpack(answer.prefix)
        if compressed or length != answer.data_bytes - PREFIX_BYTES:
            raise Fault(Status.PROTOCOL, "a message that isn't as long as it says")
        return None

    def _decoded(self, body: bytes, json_bytes: int | None) -> Tensors:  # noqa: ARG002
        return decoded(body)
