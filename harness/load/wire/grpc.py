"""Triton's gRPC protocol: one unary ModelInfer a call, as fixed HTTP/2 frames around a prepared message."""

from __future__ import annotations

import struct
from time import monotonic_ns
from typing import TYPE_CHECKING

from harness.load.tls import Tls
from harness.load.wire import http2
from harness.load.wire.connection import Fault, Reply
from harness.load.wire.familiar import FamiliarAnswers
from harness.load.wire.grpc_messages import decoded, refusal
from harness.load.wire.http2 import FRAME, WORD, Flag, Kind
from harness.load.wire.http2_connection import Http2Connection
from harness.load.wire.stream import Stream
from harness.schema.samples import Status
from harness.schema.tensors import Tensors

if TYPE_CHECKING:
    from harness.load.wire.stream import Buffer

_JOINED_BYTES = 16 * 1024
"""A request up to this is copied behind its head, which costs less than to hand over two buffers."""
_PREFIX = struct.Struct(">BI")
"""Before each gRPC message: compressed, length."""
_DATA = struct.Struct(">IBIBI")
"""Head of a DATA frame and the message's prefix together."""
_FRAMES_A_SEND = 128


class GrpcConnection(Http2Connection):
    """Unary calls, one after the other."""

    def __init__(self, host: str, port: int, timeout_s: float, tls: Tls | None = None) -> None:
        super().__init__(host, port, timeout_s, tls)
        block = http2.stateless_block(
            [
                (":method", "POST"),
                (":scheme", "http" if tls is None else "https"),
                (":path", "/inference.GRPCInferenceService/ModelInfer"),
                (":authority", f"{host}:{port}"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", "harness"),
            ]
        )
        self._head = bytearray(http2.frame(Kind.HEADERS, Flag.END_HEADERS, 0, block)) + bytes(_DATA.size)
        self._data_at = len(self._head) - _DATA.size

    def _open(self, stream: Stream) -> None:
        self._familiar = FamiliarAnswers()
        super()._open(stream)

    def _exchange(self, stream: Stream, prepared: Buffer, keep_body: bool) -> str | None:
        stream_id = self._next_stream
        self._next_stream = stream_id + 2
        self._send(stream, prepared, stream_id, keep_body)
        self._sent_bytes = len(self._head) + len(prepared)
        got = 0
        if self._stream_id != stream_id:  # nothing of the answer was read while the request was sent
            if not keep_body and not self._end:
                got = self._receive(stream)
                familiar = self._familiar.get(got)
                if familiar is not None and familiar.is_(self._buffer, stream_id):
                    self._first_byte_ns = monotonic_ns()
                    self._window += familiar.window
                    self._count(familiar.data_bytes)
                    if stream_id >= http2.LAST_STREAM:
                        self._drop()
                    return None
            self._begin_answer(stream_id, keep_body)
            if got:
                self._take_in(got)
        came_whole = got and self._ended and not self._end
        self._finish(stream)
        reason = self._outcome()
        if self._leaving or stream_id >= http2.LAST_STREAM:
            self._drop()
        elif came_whole and reason is None:
            self._familiar.learn(bytes(self._view[:got]), stream_id)
        if self._message is not None and reason is None:
            self._body = bytes(memoryview(self._message)[_PREFIX.size :])
        return reason

    def _send(self, stream: Stream, prepared: Buffer, stream_id: int, keep_body: bool) -> None:
        head, size = self._head, len(prepared) + _PREFIX.size
        WORD.pack_into(head, 5, stream_id)
        if size > self._max_frame or size > self._window or size > self._initial_window:
            self._begin_answer(stream_id, keep_body)
            self._send_large(stream, memoryview(prepared))
            return
        _DATA.pack_into(head, self._data_at, size << 8, Flag.END_STREAM, stream_id, 0, len(prepared))
        self._window -= size
        if self._owed:
            stream.send_all((self._take_owed(), head, prepared))
        elif size <= _JOINED_BYTES:
            stream.send(head + prepared)
        else:
            stream.send_all((head, prepared))

    def _send_large(self, stream: Stream, message: memoryview) -> None:
        """HEADERS, then DATA frames as the server's windows and its largest frame allow."""
        pending: list[Buffer] = [self._take_owed(), bytes(self._head[: self._data_at])]
        rest: list[memoryview] = [memoryview(_PREFIX.pack(0, len(message))), message]
        left = len(message) + _PREFIX.size
        while left and not self._ended:
            if self._owed:  # new limits hold for the server only after their acknowledgement
                pending.append(self._take_owed())
            room = min(self._window, self._stream_window, left)
            if room <= 0:
                stream.send_all(pending)
                pending = []
                self._take_in(self._receive(stream))
                continue
            size = min(room, self._max_frame)
            left -= size
            self._window -= size
            self._stream_window -= size
            flags = 0 if left else Flag.END_STREAM
            pending.append(FRAME.pack(size << 8, flags, self._stream_id))
            while size:
                part = rest[0][:size]
                pending.append(part)
                size -= len(part)
                rest[0] = rest[0][len(part) :]
                if not rest[0]:
                    rest.pop(0)
            if len(pending) >= 2 * _FRAMES_A_SEND:
                stream.send_all(pending)
                pending = []
        if left:  # answered before it was whole: the stream is half open, so start anew after this call
            self._leaving = True
        else:
            stream.send_all(pending)

    def _outcome(self) -> str | None:
        reason = refusal(self._first, self._last)
        if reason is not None:
            return reason
        if len(self._prefix) < _PREFIX.size:
            raise Fault(Status.PROTOCOL, "an answer without a message")
        compressed, length = _PREFIX.unpack(self._prefix)
        if compressed or length != self._data_bytes - _PREFIX.size:
            raise Fault(Status.PROTOCOL, "a message that isn't as long as it says")
        return None

    def decode(self, reply: Reply) -> Tensors:
        if reply.body is None:
            raise ValueError("the reply has no body: call with keep_body=True")
        return decoded(reply.body)
