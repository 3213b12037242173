"""One HTTP/2 connection with one stream open at a time: what it takes in, frame by frame (RFC 9113)."""

from __future__ import annotations

from time import monotonic_ns

from harness.load.tls import Tls
from harness.load.wire import http2
from harness.load.wire.connection import Connection, Fault
from harness.load.wire.http2 import FRAME, WORD, Flag, Headers, Kind, Setting
from harness.load.wire.stream import Stream
from harness.load.wire.tls import TlsStream
from harness.schema.samples import Status

_BUFFER_BYTES = 128 * 1024
_LARGEST_WHOLE = _BUFFER_BYTES // 2
"""Of a frame that is read whole; longer ones may only be DATA, which is read in pieces."""
_PREFIX_BYTES = 5
"""What stands before a gRPC message; kept apart, whoever keeps the rest."""


class Http2Connection(Connection):
    """HTTP/2 with prior knowledge or over TLS; `_begin_answer` names what is known of the answer in hand."""

    def __init__(self, host: str, port: int, timeout_s: float, tls: Tls | None = None) -> None:
        super().__init__(host, port, timeout_s)
        if tls is not None:
            tls.check()
        self._tls = tls
        # A gRPC server hangs up without a word on both.
        self._hint = "; if it uses TLS, give its CA with --grpc-ca"
        if tls is not None:
            self._hint = "; if it asks for the client's certificate, give one with --grpc-cert and --grpc-key"
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)

    def _new_stream(self) -> Stream:
        return super()._new_stream() if self._tls is None else TlsStream(self.host, self.port, self._tls)

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
        self._begin_answer(0, False)
        stream.send(http2.opening())
        while not self._greeted:
            self._take_in(self._receive(stream))
        stream.send(self._take_owed())

    def _begin_answer(self, stream_id: int, keep_body: bool) -> None:
        self._stream_id = stream_id
        self._stream_window = self._initial_window
        self._first: Headers | None = None
        self._last: Headers | None = None
        self._ended = False
        self._data_bytes = 0
        self._data_left = 0  # of a long DATA frame that is being read
        self._data_flags = 0
        self._prefix = b""
        self._block: bytearray | None = None  # a header block whose continuation is to come
        self._message = bytearray() if keep_body else None

    def _finish(self, stream: Stream) -> None:
        """Read until the answer has ended."""
        while not self._ended:
            if self._owed:  # the server may wait for these while we wait for it
                stream.send(self._take_owed())
            if not self._data_left:
                self._take_in(self._receive(stream))
            elif self._message is None and self._data_bytes >= _PREFIX_BYTES:
                self._take_part(self._came(stream.discard(self._data_left)), None)
            else:
                got = self._came(stream.receive_into(self._view[: self._data_left]))
                self._take_part(got, self._view[:got])

    def _receive(self, stream: Stream) -> int:
        """Wait for bytes, to come after those in the buffer; how many."""
        return self._came(stream.receive_into(self._view[self._end :] if self._end else self._view))

    def _came(self, got: int) -> int:
        if not got:
            missing = "without an answer" if self._first_byte_ns < 0 else "before the answer was whole"
            hint = "" if self._greeted else self._hint
            raise Fault(Status.CONNECTION, f"the server closed the connection {missing}{hint}")
        self._received_bytes += got
        return got

    def _take_in(self, got: int) -> None:
        """Every whole frame in the buffer, which has `got` more bytes; and what is there of a long one."""
        end = self._end + got
        at = 0
        while end - at >= FRAME.size:
            first, flags, stream_id = FRAME.unpack_from(self._buffer, at)
            kind, length = first & 0xFF, first >> 8
            long = length > _LARGEST_WHOLE
            if (long and not self._may_be_long(kind, flags, length, stream_id)) or not (
                self._greeted or kind == Kind.SETTINGS
            ):
                raise Fault(Status.PROTOCOL, "the answer is not HTTP/2")
            after = at + FRAME.size + length
            if after > end:
                if long:
                    self._data_left, self._data_flags = length, flags
                    self._take_part(end - at - FRAME.size, self._view[at + FRAME.size : end])
                    at = end
                break
            self._take(kind, flags, stream_id & 0x7FFFFFFF, self._view[at + FRAME.size : after])
            at = after
        if at != end:
            self._buffer[: end - at] = self._buffer[at:end]
        self._end = end - at

    def _may_be_long(self, kind: int, flags: int, length: int, stream_id: int) -> bool:
        if kind != Kind.DATA or flags & Flag.PADDED or length > http2.LARGEST_DATA:
            return False
        return stream_id & 0x7FFFFFFF == self._stream_id and self._block is None

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
        data = http2.unpadded(flags, payload)
        self._count(len(payload) - len(data))
        self._data_left, self._data_flags = len(data), flags
        self._take_part(len(data), data)

    def _take_part(self, size: int, data: memoryview | None) -> None:
        """Bytes of the DATA frame that is being read; None for such as were dropped."""
        if self._first is None or self._ended:
            raise Fault(Status.PROTOCOL, "data outside of an answer")
        self._count(size)
        if data is not None:
            if self._data_bytes < _PREFIX_BYTES:
                self._prefix += data[: _PREFIX_BYTES - len(self._prefix)]
            if self._message is not None:
                self._message += data
        self._data_bytes += size
        self._data_left -= size
        if not self._data_left and self._data_flags & Flag.END_STREAM:
            self._ended = True

    def _count(self, received: int) -> None:
        """Bytes that the server's window has lost; it gets them back long before it has no more."""
        self._unacknowledged += received
        if self._unacknowledged > http2.LARGEST_WINDOW // 2:
            self._owed += http2.window_update(self._unacknowledged)
            self._unacknowledged = 0

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
