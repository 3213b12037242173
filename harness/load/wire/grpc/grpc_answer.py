"""What has come of the answer to one call: the frames of one HTTP/2 stream."""

from __future__ import annotations

from collections.abc import Callable

from harness.load.wire.connection import LARGEST_KEPT, Fault
from harness.load.wire.grpc.http2 import Headers

PREFIX_BYTES = 5
"""What stands before a gRPC message; kept apart, whoever keeps the rest."""


class Answer:
    """The answer to the call in hand; one object serves a user's calls, one after the other."""

    __slots__ = (
        "began",
        "check",
        "data_bytes",
        "ended_ns",
        "familiar",
        "fault",
        "first",
        "first_byte_ns",
        "keeps",
        "last",
        "message",
        "prefix",
        "received_bytes",
        "resume",
        "stream_id",
        "whole",
        "window",
    )

    def __init__(self, check: Callable[[], object] = lambda: None) -> None:
        self.check = check
        """Raises where it is too late to wait for it any longer."""
        self.resume: Callable[[], object] | None = None
        """Goes on with who waits for it."""
        self.keeps = LARGEST_KEPT
        self.begin(0, 0, keep_body=False)
        self.came(0)

    def begin(self, stream_id: int, window: int, keep_body: bool) -> None:
        """The next call begins, on this stream. What only an unfamiliar answer needs is left to `came`."""
        self.stream_id = stream_id
        self.window = window
        """What we may still send on this stream."""
        self.first: Headers | None = None
        self.familiar = False
        """It was known again as a success, and has no headers."""
        self.fault: Fault | OSError | None = None
        self.first_byte_ns = -1
        self.ended_ns = 0
        self.received_bytes = 0
        """Bytes of its frames, their heads included."""
        self.message = bytearray() if keep_body else None

    def came(self, now_ns: int) -> None:
        """A frame of it, perhaps the first."""
        if self.first_byte_ns < 0:
            self.first_byte_ns = now_ns
            self.last: Headers | None = None
            self.data_bytes = 0
            self.prefix = b""
            self.began = (0, 0)
            """In which turn of reading it began, and where in the buffer."""
            self.whole: bytes | None = None
            """Its bytes, where they came in one turn of reading."""
