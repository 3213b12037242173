"""Triton's gRPC protocol: one unary ModelInfer a call, as fixed HTTP/2 frames around a prepared message."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from time import monotonic_ns
from typing import TYPE_CHECKING

import numpy as np

from harness.load.wire import http2
from harness.load.wire.connection import Connection, Fault, Reply
from harness.load.wire.http2 import FRAME, WORD, Flag, Headers, Kind, Setting
from harness.load.wire.stream import Stream
from harness.schema.samples import Status
from harness.schema.tensors import Tensors

if TYPE_CHECKING:
    from harness.load.wire.stream import Buffer

_BUFFER_BYTES = 128 * 1024
_PREFIX = struct.Struct(">BI")
"""Before each gRPC message: compressed, length."""
_DATA = struct.Struct(">IBIBI")
"""Head of a DATA frame and the message's prefix together."""
_FRAMES_A_SEND = 128
_CODES = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]


def prepare(model: str, inputs: Tensors, outputs: Sequence[str]) -> bytes:
    """A serialized ModelInferRequest, its tensors in `raw_input_contents`; no outputs means all of them."""
    import tritonclient.grpc as triton
    from tritonclient.grpc import service_pb2
    from tritonclient.utils import np_to_triton_dtype

    request = service_pb2.ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(np.ascontiguousarray(array))
        request.inputs.append(tensor._get_tensor())
        request.raw_input_contents.append(tensor._get_content())
    request.outputs.extend(triton.InferRequestedOutput(name)._get_tensor() for name in outputs)
    message: bytes = request.SerializeToString()
    return message


class GrpcConnection(Connection):
    """HTTP/2 with prior knowledge and one stream open at a time."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        super().__init__(host, port, timeout_s)
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        block = http2.stateless_block(
            [
                (":method", "POST"),
                (":scheme", "http"),
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
        self._end = 0
        self._headers = http2.HeaderReader()
        self._next_stream = 1
        self._window = http2.DEFAULT_WINDOW  # what we may send on this connection
        self._initial_window = http2.DEFAULT_WINDOW  # what we may send on a new stream
        self._max_frame = http2.DEFAULT_MAX_FRAME
        self._unacknowledged = 0  # received, and not yet given back as a window update
        self._owed = bytearray()  # acknowledgements to go out with the next send
        self._greeted = False
        self._leaving = False
        self._reset_answer(0)
        stream.send(http2.opening())
        while not self._greeted:
            self._pump(stream)
        stream.send(self._take_owed())

    def _reset_answer(self, stream_id: int) -> None:
        self._stream_id = stream_id
        self._stream_window = self._initial_window
        self._first: Headers | None = None
        self._last: Headers | None = None
        self._ended = False
        self._data_bytes = 0
        self._prefix = b""
        self._block: bytearray | None = None  # a header block whose continuation is to come
        self._message: bytearray | None = None

    def _exchange(self, stream: Stream, prepared: Buffer, keep_body: bool) -> str | None:
        stream_id = self._next_stream
        self._next_stream += 2
        self._reset_answer(stream_id)
        if keep_body:
            self._message = bytearray()
        size = len(prepared) + _PREFIX.size
        WORD.pack_into(self._head, 5, stream_id)
        if size <= self._max_frame and size <= self._window and size <= self._stream_window:
            _DATA.pack_into(
                self._head, self._data_at, size << 8, Flag.END_STREAM, stream_id, 0, len(prepared)
            )
            self._window -= size
            if self._owed:
                stream.send_all((self._take_owed(), self._head, prepared))
            else:
                stream.send_all((self._head, prepared))
        else:
            self._send_large(stream, memoryview(prepared))
        self._sent_bytes = len(self._head) + len(prepared)
        while not self._ended:
            if self._owed:  # the server may wait for these while we wait for it
                stream.send(self._take_owed())
            self._pump(stream)
        reason = self._outcome()
        if self._leaving or self._next_stream > http2.LAST_STREAM:
            self._drop()
        if self._message is not None and reason is None:
            self._body = bytes(memoryview(self._message)[_PREFIX.size :])
        return reason

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
                self._pump(stream)
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

    def _pump(self, stream: Stream) -> None:
        """Wait for bytes and take in every whole frame among them."""
        got = stream.receive_into(self._view[self._end :] if self._end else self._view)
        if not got:
            missing = "without an answer" if self._first_byte_ns < 0 else "before the answer was whole"
            raise Fault(Status.CONNECTION, f"the server closed the connection {missing}")
        self._received_bytes += got
        end = self._end + got
        at = 0
        while end - at >= FRAME.size:
            first, flags, stream_id = FRAME.unpack_from(self._buffer, at)
            length = first >> 8
            if length > http2.DEFAULT_MAX_FRAME or (not self._greeted and first & 0xFF != Kind.SETTINGS):
                raise Fault(Status.PROTOCOL, "the answer is not HTTP/2")
            after = at + FRAME.size + length
            if after > end:
                break
            self._take(first & 0xFF, flags, stream_id & 0x7FFFFFFF, self._view[at + FRAME.size : after])
            at = after
        if at != end:
            self._buffer[: end - at] = self._buffer[at:end]
        self._end = end - at

    def _take(self, kind: int, flags: int, stream_id: int, payload: memoryview) -> None:
        if self._block is not None and kind != Kind.CONTINUATION:
            raise Fault(Status.PROTOCOL, "a header block that is not continued")
        if stream_id:
            if stream_id != self._stream_id:
                # Only what a stream that has ended may still get (RFC 9113, 5.1) is let pass.
                if stream_id > self._stream_id or kind in (Kind.DATA, Kind.HEADERS, Kind.CONTINUATION):
                    raise Fault(Status.PROTOCOL, "an answer on a stream that isn't open")
                return
            if self._first_byte_ns < 0 and kind in (Kind.DATA, Kind.HEADERS):
                self._first_byte_ns = monotonic_ns()
            if kind == Kind.DATA:
                self._take_data(flags, payload)
            elif kind == Kind.HEADERS:
                self._take_headers(flags, bytes(http2.unpadded(flags, payload, Flag.PRIORITY)))
            elif kind == Kind.CONTINUATION:
                self._take_continuation(flags, payload)
            elif kind == Kind.WINDOW_UPDATE:
                self._stream_window += http2.increment_of(payload)
            elif kind == Kind.RST_STREAM and not self._ended:
                raise Fault(Status.CONNECTION, f"the server reset the stream: {http2.error_of(payload)}")
        elif kind == Kind.WINDOW_UPDATE:
            self._window += http2.increment_of(payload)
        elif kind == Kind.SETTINGS:
            if not flags & Flag.ACK:
                self._take_settings(payload)
        elif kind == Kind.PING:
            if not flags & Flag.ACK:
                self._owed += http2.frame(Kind.PING, Flag.ACK, 0, bytes(payload))
        elif kind == Kind.GOAWAY:
            self._take_goaway(payload)
        elif kind in (Kind.DATA, Kind.HEADERS, Kind.CONTINUATION, Kind.PUSH_PROMISE):
            raise Fault(Status.PROTOCOL, "a frame that belongs to no stream")

    def _take_data(self, flags: int, payload: memoryview) -> None:
        self._unacknowledged += len(payload)
        if self._unacknowledged > http2.LARGEST_WINDOW // 2:
            self._owed += http2.window_update(self._unacknowledged)
            self._unacknowledged = 0
        if self._first is None or self._ended:
            raise Fault(Status.PROTOCOL, "data outside of an answer")
        data = http2.unpadded(flags, payload)
        if self._data_bytes < _PREFIX.size:
            self._prefix += data[: _PREFIX.size - len(self._prefix)]
        self._data_bytes += len(data)
        if self._message is not None:
            self._message += data
        if flags & Flag.END_STREAM:
            self._ended = True

    def _take_continuation(self, flags: int, payload: memoryview) -> None:
        if self._block is None:
            raise Fault(Status.PROTOCOL, "a header block that has no beginning")
        self._block += payload
        if len(self._block) > _BUFFER_BYTES:
            raise Fault(Status.PROTOCOL, "a header block without an end")
        if flags & Flag.END_HEADERS:
            block, self._block = bytes(self._block), None
            self._take_headers(flags | self._block_flags, block)

    def _take_headers(self, flags: int, block: bytes) -> None:
        if not flags & Flag.END_HEADERS:
            self._block, self._block_flags = bytearray(block), flags & Flag.END_STREAM
            return
        if self._ended:
            raise Fault(Status.PROTOCOL, "headers after the answer's end")
        headers = self._headers.read(block)
        if self._first is None:
            self._first = headers
        self._last = headers
        if flags & Flag.END_STREAM:
            self._ended = True

    def _take_settings(self, payload: memoryview) -> None:
        if len(payload) % http2.SETTING.size:
            raise Fault(Status.PROTOCOL, "a SETTINGS frame of a wrong size")
        for name, value in http2.SETTING.iter_unpack(payload):
            if name == Setting.INITIAL_WINDOW_SIZE:
                self._stream_window += value - self._initial_window
                self._initial_window = value
            elif name == Setting.MAX_FRAME_SIZE:
                self._max_frame = value
        self._greeted = True
        self._owed += http2.frame(Kind.SETTINGS, Flag.ACK, 0)

    def _take_goaway(self, payload: memoryview) -> None:
        if len(payload) < 8:
            raise Fault(Status.PROTOCOL, "a GOAWAY frame of a wrong size")
        self._leaving = True
        if not self._ended and WORD.unpack_from(payload)[0] & 0x7FFFFFFF < self._stream_id:
            raise Fault(Status.CONNECTION, f"the server is going away: {http2.error_of(payload[4:])}")

    def _take_owed(self) -> bytes:
        owed = bytes(self._owed)
        self._owed.clear()
        return owed

    def _outcome(self) -> str | None:
        first, last = self._first, self._last
        if first is None or last is None:
            raise Fault(Status.PROTOCOL, "an answer without headers")
        if last.grpc_status is None:
            if first.http_status != "200":
                return f"HTTP {first.http_status}"
            raise Fault(Status.PROTOCOL, "an answer without a grpc-status")
        if last.grpc_status != 0:
            code = last.grpc_status
            name = _CODES[code] if 0 <= code < len(_CODES) else f"status {code}"
            return f"{name}: {last.grpc_message}"[:500] if last.grpc_message else name
        if len(self._prefix) < _PREFIX.size:
            raise Fault(Status.PROTOCOL, "an answer without a message")
        compressed, length = _PREFIX.unpack(self._prefix)
        if compressed or length != self._data_bytes - _PREFIX.size:
            raise Fault(Status.PROTOCOL, "a message that isn't as long as it says")
        return None

    def decode(self, reply: Reply) -> Tensors:
        import tritonclient.grpc as triton
        from tritonclient.grpc import service_pb2

        if reply.body is None:
            raise ValueError("the reply has no body: call with keep_body=True")
        response = service_pb2.ModelInferResponse.FromString(reply.body)
        result = triton.InferResult(response)
        return {each.name: result.as_numpy(each.name) for each in response.outputs}
