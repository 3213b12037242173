"""Some of the answers of a drive, as they came: they are compared when it is over, which takes no time of the
load's.

A load process keeps one each twentieth of a second, of its warm-up too, and leaves them in a file beside its
records. Each has a head (`_HEAD`), then the answer's bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.load.wire.connection import Reply
from harness.schema.samples import NO_BYTE, Status

LARGEST = 1 << 22
"""Bytes of an answer that is kept; of larger ones none is."""
_TOGETHER = 1 << 26
_EACH_NS = 50_000_000
_NEVER = 2**62
_HEAD = struct.Struct("<HHqI")
"""Class, variant, bytes of JSON (-1 for none), bytes."""


class Kept(NamedTuple):
    """An answer to one of the payloads."""

    request_class: int
    variant: int
    reply: Reply
    """Only its body counts."""


class KeptAnswers:
    """Those of one load process. Call `keep` with each answer that was asked for at `due_ns` or later."""

    def __init__(self, file: Path | None) -> None:
        """None keeps nothing."""
        self.due_ns = _NEVER if file is None else 0
        self._file, self._parts, self._left = file, list[bytes](), _TOGETHER

    def wait(self, now_ns: int) -> None:
        """One is on its way; the next will be later."""
        self.due_ns = now_ns + _EACH_NS if self._left > 0 else _NEVER

    def keep(self, request_class: int, variant: int, reply: Reply) -> None:
        if reply.body is not None:
            json_bytes = -1 if reply.json_bytes is None else reply.json_bytes
            self._parts += (_HEAD.pack(request_class, variant, json_bytes, len(reply.body)), reply.body)
            self._left -= len(reply.body)

    def write(self) -> None:
        if self._file is not None:
            self._file.write_bytes(b"".join(self._parts))


def answers_file(folder: Path, worker: int) -> Path:
    return folder / f"answers-{worker}.bin"


def kept_in(folder: Path) -> Iterator[Kept]:
    """What the load processes of this machine have left of a drive, each in the order in which they came."""
    for file in sorted(folder.glob("answers-*.bin")):
        content, at = file.read_bytes(), 0
        while at + _HEAD.size <= len(content):
            request_class, variant, json_bytes, size = _HEAD.unpack_from(content, at)
            at += _HEAD.size
            body, at = content[at : at + size], at + size
            known = None if json_bytes < 0 else json_bytes
            yield Kept(
                request_class, variant, Reply(Status.OK, None, 0, NO_BYTE, 0, 0, len(body), body, known)
            )
