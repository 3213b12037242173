"""HTTP/2 frames (RFC 9113) as far as a unary gRPC client needs them: names, layouts and header blocks."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple
from urllib.parse import unquote

import hpack

from harness.load.wire.connection import Fault
from harness.schema.samples import Status

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME = struct.Struct(">IBI")
"""Head of a frame: length << 8 | type, flags, stream."""
SETTING = struct.Struct(">HI")
WORD = struct.Struct(">I")
DEFAULT_WINDOW = 65_535
DEFAULT_MAX_FRAME = 16_384
LARGEST_DATA = 4 * 1024 * 1024
"""The largest DATA frame that we take: a large answer in few frames costs both sides less."""
LARGEST_WINDOW = 2**31 - 1
LAST_STREAM = 2**31 - 1
_MOST_KNOWN = 256
_LONGEST_KNOWN = 1024
_LONGEST_MESSAGE = 8 * 1024
"""Bytes of grpc-message that are decoded: nobody is shown that much."""


class Frame(IntEnum):
    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag(IntEnum):
    """Bits; an IntFlag's operators are Python functions, which here cost as much as a system call."""

    END_STREAM = 1
    ACK = 1
    END_HEADERS = 4
    PADDED = 8
    PRIORITY = 32


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5


_BOUNDS: dict[int, tuple[int, int]] = {
    Setting.INITIAL_WINDOW_SIZE: (0, LARGEST_WINDOW),
    Setting.MAX_FRAME_SIZE: (DEFAULT_MAX_FRAME, 2**24 - 1),
}
PING_BYTES = 8

ERRORS = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
]


def frame(kind: Frame, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return FRAME.pack(len(payload) << 8 | kind, flags, stream) + payload


def error_name(payload: bytes) -> str:
    """The name of the error code that RST_STREAM begins with and that follows in GOAWAY."""
    (code,) = WORD.unpack_from(payload)
    return ERRORS[code] if code < len(ERRORS) else f"error {code}"


def checked_setting(name: int, value: int) -> int:
    """The value of a server's setting. Raises Fault where RFC 9113 (6.5.2) has no such value."""
    lowest, largest = _BOUNDS.get(name, (0, 2**32 - 1))
    if not lowest <= value <= largest:
        raise Fault(Status.PROTOCOL, f"a setting that can't be: {Setting(name).name} of {value}")
    return value


def opening() -> bytes:
    """What a client says first.

    A header table of size 0 makes the server's header blocks stateless: the same answer is the same bytes.
    Windows are as large as they can be, so that flow control never holds an answer back.
    """
    settings = (
        (Setting.HEADER_TABLE_SIZE, 0),
        (Setting.ENABLE_PUSH, 0),
        (Setting.INITIAL_WINDOW_SIZE, LARGEST_WINDOW),
        (Setting.MAX_FRAME_SIZE, LARGEST_DATA),
    )
    payload = b"".join(SETTING.pack(*each) for each in settings)
    return PREFACE + frame(Frame.SETTINGS, 0, 0, payload) + window_update(LARGEST_WINDOW - DEFAULT_WINDOW)


def window_update(increment: int) -> bytes:
    return frame(Frame.WINDOW_UPDATE, 0, 0, WORD.pack(increment))


def reset(stream: int) -> bytes:
    """That an answer isn't wanted any more."""
    return frame(Frame.RST_STREAM, 0, stream, WORD.pack(ERRORS.index("CANCEL")))


def stateless_block(fields: list[tuple[str, str]]) -> bytes:
    """A header block that touches no table, so that it may be sent any number of times."""
    block: bytes = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*field) for field in fields])
    return block


class Headers(NamedTuple):
    """What of a header block says how a call went."""

    http_status: str | None
    grpc_status: int | None
    grpc_message: str


class HeaderReader:
    """Reads stateless header blocks; one that it has seen before costs a look-up."""

    def __init__(self) -> None:
        self._decoder = hpack.Decoder()
        self._decoder.header_table_size = 0
        self._decoder.max_allowed_table_size = 0
        self._known: dict[bytes, Headers] = {}

    def read(self, block: bytes) -> Headers:
        known = self._known.get(block)
        if known is None:
            known = self._decoded(block)
            if len(self._known) < _MOST_KNOWN and len(block) <= _LONGEST_KNOWN:
                self._known[block] = known
        return known

    def _decoded(self, block: bytes) -> Headers:
        try:
            fields = {str(name): str(value) for name, value in self._decoder.decode(block)}
            code = fields.get("grpc-status")
            return Headers(
                fields.get(":status"),
                None if code is None else int(code),
                unquote(fields.get("grpc-message", "")[:_LONGEST_MESSAGE]),
            )
        except (hpack.HPACKError, ValueError) as error:
            raise Fault(Status.PROTOCOL, "a header block that can't be read") from error


def unpadded(flags: int, payload: memoryview, priority: int = 0) -> memoryview:
    """Without padding, and without the priority fields where the frame may have them."""
    start, stop = 0, len(payload)
    if flags & Flag.PADDED and stop:
        start, stop = 1, stop - payload[0]
    if flags & priority:
        start += 5
    if start > stop:
        raise Fault(Status.PROTOCOL, "more padding than frame")
    return payload[start:stop]


def increment_of(payload: memoryview) -> int:
    if len(payload) != WORD.size:
        raise Fault(Status.PROTOCOL, "a WINDOW_UPDATE frame of a wrong size")
    increment: int = WORD.unpack(payload)[0] & 0x7FFFFFFF
    return increment


def error_of(payload: memoryview) -> str:
    if len(payload) < WORD.size:
        raise Fault(Status.PROTOCOL, "a RST_STREAM frame of a wrong size")
    return error_name(bytes(payload))
