"""Knowing a gRPC answer again by comparing bytes, instead of taking its frames apart.

Header blocks are stateless (we ask for no table), so one successful answer differs from the next of the same
size in two things only: its stream's number, which we know, and the message itself, which is nobody's
business here. Everything else is compared; what isn't equal is read frame by frame, as the first one was.
"""

from __future__ import annotations

from harness.load.wire.http2 import FRAME, WORD, Flag, Kind

_PREFIX_BYTES = 5
_STREAM_AT = 5
"""Where a frame's stream number stands in its head."""
_MOST = 64


class FamiliarAnswer:
    """One shape of a whole successful answer: all of its bytes but the message's."""

    __slots__ = ("_head", "_head_streams", "_tail", "_tail_at", "_tail_streams", "data_bytes", "window")

    def __init__(self, answer: bytes, data_at: int, data_bytes: int, streams: list[int], window: int) -> None:
        """`streams` are the places of the stream's number in `answer`; the message's DATA is at `data_at`."""
        self._tail_at = data_at + data_bytes
        self._head = bytearray(answer[: data_at + _PREFIX_BYTES])
        self._tail = bytearray(answer[self._tail_at :])
        self._head_streams = [at for at in streams if at < data_at]
        self._tail_streams = [at - self._tail_at for at in streams if at >= data_at]
        self.data_bytes = data_bytes
        self.window = window
        """By how much it opens the connection's window for us."""

    def is_(self, buffer: bytearray, stream_id: int) -> bool:
        """Whether `buffer`, which has as many bytes as this answer, begins with such an answer."""
        head, tail = self._head, self._tail
        for at in self._head_streams:
            WORD.pack_into(head, at, stream_id)
        for at in self._tail_streams:
            WORD.pack_into(tail, at, stream_id)
        return buffer.startswith(head) and buffer.startswith(tail, self._tail_at)


class FamiliarAnswers:
    """The answers that one connection has seen, by their size."""

    def __init__(self) -> None:
        self._by_size: dict[int, FamiliarAnswer] = {}
        self.get = self._by_size.get

    def learn(self, answer: bytes, stream_id: int) -> None:
        """From a successful answer that came whole and alone: HEADERS, one DATA, HEADERS, window updates."""
        kinds: list[int] = []
        streams: list[int] = []
        data: tuple[int, int] | None = None
        at = window = 0
        while at < len(answer):
            first, flags, stream = FRAME.unpack_from(answer, at)
            kind, length, body = first & 0xFF, first >> 8, at + FRAME.size
            if kind == Kind.WINDOW_UPDATE:
                window += 0 if stream else WORD.unpack_from(answer, body)[0] & 0x7FFFFFFF
            elif stream != stream_id or flags & Flag.PADDED:
                return
            else:
                kinds.append(kind)
            if stream == stream_id:
                streams.append(at + _STREAM_AT)
            elif stream:
                return
            if kind == Kind.DATA:
                data = body, length
            at = body + length
        if kinds != [Kind.HEADERS, Kind.DATA, Kind.HEADERS] or data is None or data[1] < _PREFIX_BYTES:
            return
        if len(self._by_size) >= _MOST:
            self._by_size.clear()
        self._by_size[len(answer)] = FamiliarAnswer(answer, *data, streams, window)
