"""A header block, which may come in several frames (RFC 9113, 4.3): HEADERS, then CONTINUATION to its end."""

from __future__ import annotations

from harness.load.wire.connection import Fault
from harness.load.wire.grpc.http2 import Flag
from harness.schema.samples import Status

LONGEST = 32 * 1024
"""gRPC's own limit is 16 KB."""
MOST_FRAMES = 64
"""They may be empty, and then have no end."""


class HeaderBlock:
    """The one that is coming; of `stream`, with the flags of its HEADERS frame."""

    def __init__(self, stream: int, flags: int, beginning: bytes) -> None:
        self.stream, self.flags = stream, flags
        self._parts = bytearray()
        self._frames = 0
        self._add(beginning)

    def go_on(self, flags: int, payload: memoryview) -> bytes | None:
        """The whole block, with the frame that ends it; None before."""
        self._add(payload)
        return bytes(self._parts) if flags & Flag.END_HEADERS else None

    def _add(self, part: bytes | memoryview) -> None:
        self._parts += part
        self._frames += 1
        if len(self._parts) > LONGEST or self._frames > MOST_FRAMES:
            raise Fault(Status.PROTOCOL, "a header block without an end")
