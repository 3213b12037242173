"""A connection without a socket, for targets: what a server would send lies ready, in pieces."""

from __future__ import annotations

from collections.abc import Sequence

from harness.load.wire.connection import Reply
from harness.load.wire.stream import Stream
from harness.plain_text import MOST_QUOTED
from harness.schema.samples import Status

Buffer = bytes | bytearray | memoryview


class Pieces(Stream):
    """Gives the pieces one after the other, and then the end."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._coming = [piece for piece in pieces if piece]
        self.sent = 0

    def wait_in_kernel(self) -> None:
        pass

    def send_now(self, data: Buffer) -> int:
        self.sent += len(data)
        return len(data)

    def send(self, data: Buffer) -> None:
        self.send_now(data)

    def send_all(self, buffers: Sequence[Buffer]) -> None:
        for each in buffers:
            self.send_now(each)

    def receive_into(self, view: memoryview | bytearray) -> int:
        if not self._coming:
            return 0
        piece = self._coming[0][: len(view)]
        view[: len(piece)] = piece
        self._coming[0] = self._coming[0][len(piece) :]
        if not self._coming[0]:
            del self._coming[0]
        return len(piece)

    receive_now = receive_into

    def discard(self, size: int) -> int:
        return self.receive_into(bytearray(min(size, 1 << 20)))

    discard_now = discard

    def close(self) -> None:
        pass


def check(reply: Reply, keep_body: bool) -> None:
    """It is a right answer or a failure that can be shown."""
    assert (reply.status is Status.OK) == (reply.reason is None)
    assert (reply.body is not None) == (reply.status is Status.OK and keep_body)
    assert reply.sent_ns <= reply.completed_ns
    if reply.reason is not None:
        assert 0 < len(reply.reason) <= MOST_QUOTED and reply.reason.isprintable()
