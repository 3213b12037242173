"""Knowing a gRPC answer again by comparing bytes, instead of taking its frames apart.

Header blocks are stateless (we ask for no table), so one successful answer differs from the next of the same
size in two things only: its stream's number, which we know, and the message itself, which is nobody's
business here. Everything else is compared; what isn't equal is read frame by frame, as the first one was.
"""

from __future__ import annotations

from harness.load.wire.grpc.http2 import FRAME, WORD, Flag, Frame

_PREFIX_BYTES = 5
_STREAM_AT = 5
"""Where a frame's stream number stands in its head."""
_MOST = 64
_LARGEST = 4096
"""Bytes that are kept of one: heads and trailers of a success have some hundreds of bytes."""


class ResponseTemplate:
    """One shape of a whole successful answer: all of its bytes but the message's."""

    __slots__ = ("data_at", "data_bytes", "head", "size", "tail", "tail_at")

    def __init__(self, answer: bytes, data_at: int, data_bytes: int) -> None:
        """It has HEADERS, DATA, HEADERS; the payload of DATA is at `data_at`."""
        self.data_at = data_at - FRAME.size + _STREAM_AT
        self.tail_at = data_at + data_bytes
        self.head = bytearray(answer[: data_at + _PREFIX_BYTES])
        self.tail = bytearray(answer[self.tail_at :])
        self.data_bytes = data_bytes
        self.size = len(answer)


class ResponseTemplates:
    """The answers that one connection has seen, by the sizes of their first two frames."""

    def __init__(self) -> None:
        self._by_sizes: dict[int, ResponseTemplate] = {}

    def find(
        self, buffer: bytearray, at: int, end: int, first: int, stream_id: int
    ) -> ResponseTemplate | None:
        """The one at `at`, where a frame begins whose first word is `first`; None if none is there, whole."""
        data_at = at + FRAME.size + (first >> 8)
        if data_at + FRAME.size > end:
            return None
        familiar = self._by_sizes.get(first << 32 | WORD.unpack_from(buffer, data_at)[0])
        if familiar is None or at + familiar.size > end:
            return None
        head, tail, put = familiar.head, familiar.tail, WORD.pack_into
        put(head, _STREAM_AT, stream_id)
        put(head, familiar.data_at, stream_id)
        put(tail, _STREAM_AT, stream_id)
        same = buffer.startswith(head, at) and buffer.startswith(tail, at + familiar.tail_at)
        return familiar if same else None

    def learn(self, answer: bytes, stream_id: int) -> None:
        """From the bytes of a successful answer; of HEADERS, one DATA, HEADERS, with nothing in between."""
        kinds: list[int] = []
        sizes: list[int] = []
        at = 0
        while at < len(answer):
            first, flags, stream = FRAME.unpack_from(answer, at)
            if stream != stream_id or flags & Flag.PADDED:
                return
            kinds.append(first & 0xFF)
            sizes.append(first >> 8)
            at += FRAME.size + (first >> 8)
        if kinds != [Frame.HEADERS, Frame.DATA, Frame.HEADERS] or sizes[1] < _PREFIX_BYTES:
            return
        if len(answer) - sizes[1] > _LARGEST:
            return
        if len(self._by_sizes) >= _MOST:
            self._by_sizes.clear()
        first, second = (WORD.unpack_from(answer, at)[0] for at in (0, FRAME.size + sizes[0]))
        self._by_sizes[first << 32 | second] = ResponseTemplate(answer, sizes[0] + 2 * FRAME.size, sizes[1])
