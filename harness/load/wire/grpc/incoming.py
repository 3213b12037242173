"""What comes in on one HTTP/2 connection, frame by frame (RFC 9113), for any number of streams."""

from __future__ import annotations

from time import monotonic_ns

from harness.load.wire.connection import LARGEST_KEPT, Fault
from harness.load.wire.grpc import http2
from harness.load.wire.grpc.grpc_answer import PREFIX_BYTES, Answer
from harness.load.wire.grpc.header_block import LONGEST, HeaderBlock
from harness.load.wire.grpc.http2 import FRAME, WORD, Flag, Frame, Setting
from harness.load.wire.grpc.response_templates import ResponseTemplates
from harness.schema.samples import Status

_BUFFER_BYTES = 128 * 1024
_LARGEST_WHOLE = _BUFFER_BYTES // 2
"""Bytes of a frame that is read whole; longer ones may only be DATA, which is read in pieces."""
_MOST_OWED = 64 * 1024
"""Bytes of acknowledgements that wait to be sent."""
_LARGEST_UNACKNOWLEDGED = http2.LARGEST_WINDOW // 2
_WINDOW_UPDATE = WORD.size << 8 | Frame.WINDOW_UPDATE
_WINDOW_UPDATE_BYTES = FRAME.size + WORD.size


class Incoming:
    """The open streams' answers, and what the server says of the connection itself.

    No socket here: bytes are put into `room` and then taken in by `take`, or where `missing` says that a long
    DATA frame isn't whole, by `take_part`. Both raise Fault where the whole connection can't go on.
    """

    def __init__(self) -> None:
        self._buffer = bytearray(_BUFFER_BYTES)
        self.view = memoryview(self._buffer)
        self.room = self.view
        self.open: dict[int, Answer] = {}
        """By stream; an answer that has ended is taken out."""
        self.ended: list[Answer] = []
        """Those that ended since it was last emptied, by whom they are told."""
        self.owed = bytearray()
        """Acknowledgements, to go out with the next send."""
        self.last_stream = -1
        """The last that we opened."""
        self.window = http2.DEFAULT_WINDOW
        """What we may send on this connection."""
        self.initial_window = http2.DEFAULT_WINDOW
        """What we may send on a new stream."""
        self.window_grew = False
        self.max_frame = http2.DEFAULT_MAX_FRAME
        self.greeted = False
        self.leaving = False
        """The server has said that it takes no more streams."""
        self.missing = 0
        """Bytes that are left of a long DATA frame."""
        self.familiar = ResponseTemplates()
        self._end = 0
        self._turn = 0
        self._now_ns = 0
        self._headers = http2.HeaderReader()
        self._unacknowledged = 0  # received, and not yet given back as a window update
        self._data: Answer | None = None  # whose DATA frame is being read; None: nobody's any more
        self._data_flags = 0
        self._block: HeaderBlock | None = None  # whose continuation is to come
        self._abandoned: set[int] = set()

    @property
    def droppable(self) -> bool:
        """Nobody wants the rest of the long DATA frame that is being read."""
        data = self._data
        return data is None or (data.message is None and data.data_bytes >= PREFIX_BYTES)

    def take_owed(self) -> bytes:
        owed = bytes(self.owed)
        self.owed.clear()
        return owed

    def abandon(self, answer: Answer) -> bool:
        """Let its frames pass from now on, for nobody waits for them; False if it had ended."""
        if self.open.pop(answer.stream_id, None) is None:
            return False
        self._abandoned.add(answer.stream_id)
        if self._data is answer:
            self._data = None
        return True

    def fail(self, answer: Answer, fault: Fault | OSError) -> None:
        answer.fault = fault
        self._now_ns = monotonic_ns()
        self._finish(answer)

    def take(self, got: int) -> None:
        """Every whole frame in the buffer, which has `got` more bytes; and what is there of a long one."""
        self._turn += 1
        self._now_ns = now = monotonic_ns()
        buffer, get, end, at = self._buffer, self.open.get, self._end + got, 0
        while end - at >= FRAME.size:
            first, flags, stream_id = FRAME.unpack_from(buffer, at)
            answer = get(stream_id)
            if first == _WINDOW_UPDATE and not stream_id and self.greeted and self._block is None:
                if at + _WINDOW_UPDATE_BYTES <= end:
                    self.window += WORD.unpack_from(buffer, at + FRAME.size)[0] & 0x7FFFFFFF
                    self.window_grew = True
                    at += _WINDOW_UPDATE_BYTES
                    continue
            elif answer is not None and answer.first is None and first & 0xFF == Frame.HEADERS:
                if answer.message is None and self._block is None:
                    familiar = self.familiar.find(buffer, at, end, first, stream_id)
                    if familiar is not None:
                        answer.familiar = True
                        answer.first_byte_ns = now
                        answer.received_bytes = familiar.size
                        answer.ended_ns = now
                        del self.open[stream_id]
                        self.ended.append(answer)
                        self._unacknowledged += familiar.data_bytes
                        at += familiar.size
                        continue
                answer.came(now)
                answer.began = self._turn, at
            after = at + FRAME.size + (first >> 8)
            at = self._take_frame(
                first, flags, stream_id & 0x7FFFFFFF, at, min(after, end), whole=after <= end
            )
            if at < after:
                break
        if self._unacknowledged > _LARGEST_UNACKNOWLEDGED:
            self._count(0)
        if at != end:
            self._buffer[: end - at] = self._buffer[at:end]
            self._end = end - at
            self.room = self.view[self._end :]
        elif self._end:
            self._end, self.room = 0, self.view

    def take_part(self, size: int, data: memoryview | None) -> None:
        """Bytes of the DATA frame that is being read; None for such as were dropped."""
        self._now_ns = monotonic_ns()
        if self._data is not None:
            self._data.received_bytes += size
        self._take_part(size, data)

    def _take_frame(self, first: int, flags: int, stream_id: int, at: int, stop: int, whole: bool) -> int:
        """Take the frame at `at`, of which the bytes up to `stop` are there; up to where they were taken."""
        kind, length = first & 0xFF, first >> 8
        answer = self.open.get(stream_id)
        long = length > _LARGEST_WHOLE
        if (long and not self._may_be_long(kind, flags, length, stream_id)) or not (
            self.greeted or kind == Frame.SETTINGS
        ):
            raise Fault(Status.PROTOCOL, "the answer is not HTTP/2")
        if not whole and not long:
            return at
        if answer is not None:
            answer.received_bytes += stop - at
        payload = self.view[at + FRAME.size : stop]
        if whole:
            self._take(kind, flags, stream_id, answer, payload)
            if answer is not None and answer.ended_ns and answer.began[0] == self._turn:
                answer.whole = bytes(self.view[answer.began[1] : stop])
        else:
            self._begin_data(flags, length, answer)
            self._take_part(len(payload), payload)
        return stop

    def _may_be_long(self, kind: int, flags: int, length: int, stream_id: int) -> bool:
        if (
            kind != Frame.DATA
            or flags & Flag.PADDED
            or length > http2.LARGEST_DATA
            or self._block is not None
        ):
            return False
        return stream_id in self.open or stream_id in self._abandoned

    def _take(
        self, kind: int, flags: int, stream_id: int, answer: Answer | None, payload: memoryview
    ) -> None:
        block = self._block
        if block is not None and (kind != Frame.CONTINUATION or stream_id != block.stream):
            raise Fault(Status.PROTOCOL, "a header block that is not continued")
        if stream_id:
            self._take_of_stream(kind, flags, stream_id, answer, payload)
        elif kind == Frame.WINDOW_UPDATE:
            self._take_window_update(None, payload)
        elif kind == Frame.SETTINGS:
            if not flags & Flag.ACK:
                self._take_settings(payload)
        elif kind == Frame.PING:
            if len(payload) != http2.PING_BYTES:
                raise Fault(Status.PROTOCOL, "a PING frame of a wrong size")
            if not flags & Flag.ACK:
                self._owe(http2.frame(Frame.PING, Flag.ACK, 0, bytes(payload)))
        elif kind == Frame.GOAWAY:
            self._take_goaway(payload)
        elif kind in (Frame.DATA, Frame.HEADERS, Frame.CONTINUATION, Frame.PUSH_PROMISE):
            raise Fault(Status.PROTOCOL, "a frame that belongs to no stream")

    def _take_of_stream(
        self, kind: int, flags: int, stream_id: int, answer: Answer | None, payload: memoryview
    ) -> None:
        if answer is None and stream_id not in self._abandoned:
            # Only what a stream that has ended may still get (RFC 9113, 5.1) is passed over.
            if stream_id > self.last_stream or kind in (
                Frame.DATA,
                Frame.HEADERS,
                Frame.CONTINUATION,
            ):
                raise Fault(Status.PROTOCOL, "an answer on a stream that isn't open")
        elif kind == Frame.DATA:
            self._take_data(flags, answer, payload)
        elif kind == Frame.HEADERS:
            if answer is not None:
                answer.came(self._now_ns)
            block = bytes(http2.unpadded(flags, payload, Flag.PRIORITY))
            if not flags & Flag.END_HEADERS or len(block) > LONGEST:  # which says so
                self._block = HeaderBlock(stream_id, flags, block)
            else:
                self._take_headers(flags, answer, block)
        elif kind == Frame.CONTINUATION:
            self._take_continuation(flags, answer, payload)
        elif answer is None:
            pass
        elif kind == Frame.WINDOW_UPDATE:
            self._take_window_update(answer, payload)
        elif kind == Frame.RST_STREAM:
            error = http2.error_of(payload)
            # A refused stream is one that nobody has looked at (RFC 9113, 8.7).
            fault = Fault(
                Status.CONNECTION, f"the server reset the stream: {error}", final=error != "REFUSED_STREAM"
            )
            self.fail(answer, fault)
        elif kind in (Frame.SETTINGS, Frame.PUSH_PROMISE, Frame.PING, Frame.GOAWAY):
            raise Fault(Status.PROTOCOL, "a frame that no answer has")

    def _take_window_update(self, answer: Answer | None, payload: memoryview) -> None:
        (answer or self).window += http2.increment_of(payload)
        self.window_grew = True

    def _take_data(self, flags: int, answer: Answer | None, payload: memoryview) -> None:
        data = http2.unpadded(flags, payload)
        self._count(len(payload) - len(data))
        self._begin_data(flags, len(data), answer)
        self._take_part(len(data), data)

    def _begin_data(self, flags: int, size: int, answer: Answer | None) -> None:
        if answer is not None:
            answer.came(self._now_ns)
        self.missing, self._data, self._data_flags = size, answer, flags

    def _take_part(self, size: int, data: memoryview | None) -> None:
        self._count(size)
        self.missing -= size
        answer = self._data
        if answer is None:
            return
        if answer.first is None:
            raise Fault(Status.PROTOCOL, "data outside of an answer")
        if data is not None:
            if answer.data_bytes < PREFIX_BYTES:
                answer.prefix += data[: PREFIX_BYTES - len(answer.prefix)]
            if answer.message is not None:
                if answer.data_bytes + size <= answer.keeps:
                    answer.message += data
                elif answer.keeps < LARGEST_KEPT:
                    answer.message = None
                else:
                    raise Fault(Status.PROTOCOL, f"an answer of more than the {LARGEST_KEPT} bytes kept")
        answer.data_bytes += size
        if not self.missing and self._data_flags & Flag.END_STREAM:
            self._finish(answer)

    def _count(self, received: int) -> None:
        """Bytes that the server's window has lost; it gets them back long before it has no more."""
        self._unacknowledged += received
        if self._unacknowledged > _LARGEST_UNACKNOWLEDGED:
            self.owed += http2.window_update(self._unacknowledged)
            self._unacknowledged = 0

    def _take_continuation(self, flags: int, answer: Answer | None, payload: memoryview) -> None:
        if self._block is None:
            raise Fault(Status.PROTOCOL, "a header block that has no beginning")
        began, block = self._block, self._block.go_on(flags, payload)
        if block is not None:
            self._block = None
            self._take_headers(began.flags, answer, block)

    def _take_headers(self, flags: int, answer: Answer | None, block: bytes) -> None:
        if answer is None:
            return
        answer.last = self._headers.read(block)
        if answer.first is None:
            answer.first = answer.last
        if flags & Flag.END_STREAM:
            self._finish(answer)

    def _finish(self, answer: Answer) -> None:
        answer.ended_ns = self._now_ns
        del self.open[answer.stream_id]
        self.ended.append(answer)

    def _take_settings(self, payload: memoryview) -> None:
        if len(payload) % http2.SETTING.size:
            raise Fault(Status.PROTOCOL, "a SETTINGS frame of a wrong size")
        for name, given in http2.SETTING.iter_unpack(payload):
            value = http2.checked_setting(name, given)
            if name == Setting.INITIAL_WINDOW_SIZE:
                for answer in self.open.values():
                    answer.window += value - self.initial_window
                self.initial_window = value
                self.window_grew = True
            elif name == Setting.MAX_FRAME_SIZE:
                self.max_frame = value
        self.greeted = True
        self._owe(http2.frame(Frame.SETTINGS, Flag.ACK, 0))

    def _owe(self, acknowledgement: bytes) -> None:
        self.owed += acknowledgement
        if len(self.owed) > _MOST_OWED:
            raise Fault(Status.PROTOCOL, "more frames to acknowledge than the server takes acknowledgements")

    def _take_goaway(self, payload: memoryview) -> None:
        if len(payload) < 8:
            raise Fault(Status.PROTOCOL, "a GOAWAY frame of a wrong size")
        self.leaving = True
        last = WORD.unpack_from(payload)[0] & 0x7FFFFFFF
        for answer in [each for stream_id, each in self.open.items() if stream_id > last]:
            reason = f"the server is going away: {http2.error_of(payload[4:])}"
            self.fail(answer, Fault(Status.CONNECTION, reason))
