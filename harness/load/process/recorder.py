"""Every request into a spool file, as it ends, for about a microsecond. `harness.load.spools` reads it back.

The spool is REQUEST records end to end (harness.schema.samples). What was flushed survives a `kill -9`, and
a torn record at the end is passed over. Error texts stand beside it, one JSON string a line, before any
record that names them.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from harness.load.process.reasons import Reasons
from harness.load.spools import spool_file, write_all
from harness.schema.samples import REQUEST, Phase

if TYPE_CHECKING:
    from harness.load.wire import Reply  # brings gevent, which the driver does without

_RECORD = struct.Struct("<HBBHHqqqqII")
assert _RECORD.size == REQUEST.itemsize

_BUFFERED = 2048
FAR_NS = 2**62
"""A time that never comes."""
_LARGEST_U4 = 2**32 - 1


class Recorder:
    """Appends records of one load process. Not flushed by itself: call `flush` at least once a second."""

    def __init__(self, folder: Path, worker: int) -> None:
        self.succeeded = 0
        self.failed = 0
        """Both count what was recorded in the current phase."""
        self.resent = 0
        """The same: of them, those that were sent again on a new connection."""
        self.first_ns, self.last_ns = FAR_NS, 0
        """The current phase's first intended send, and the completion that was recorded last."""
        self.spool_bytes = 0
        """Handed to the kernel so far."""
        self.text_bytes = 0
        self._phase = Phase.WARMUP
        self._worker = worker
        self._buffer = bytearray(_RECORD.size * _BUFFERED)
        self._end = 0
        self._reasons = Reasons()
        self._numbers: dict[str, int] = {}
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._texts = os.open(spool_file(folder, worker, "reasons"), flags, 0o644)
        self._spool = os.open(spool_file(folder, worker, "spool"), flags, 0o644)

    @property
    def count(self) -> int:
        """Requests recorded in the current phase."""
        return self.succeeded + self.failed

    def begin(self, phase: Phase) -> None:
        """Requests recorded from now on belong to `phase`; the counts start anew."""
        self._phase = phase
        self.succeeded = self.failed = self.resent = 0
        self.first_ns, self.last_ns = FAR_NS, 0

    def record(self, request_class: int, intended_ns: int, reply: Reply) -> None:
        status, reason, sent_ns, first_byte_ns, completed_ns, sent_bytes, received_bytes, _, _, resent = reply
        if resent:
            self.resent += 1
        if reason is None:
            which = 0
            self.succeeded += 1
        else:
            which = self._reason(reason)
            self.failed += 1
        if received_bytes > _LARGEST_U4:
            received_bytes = _LARGEST_U4
        if intended_ns < self.first_ns:
            self.first_ns = intended_ns
        self.last_ns = completed_ns
        end = self._end
        _RECORD.pack_into(
            self._buffer,
            end,
            request_class,
            status,
            self._phase,
            self._worker,
            which,
            intended_ns,
            sent_ns,
            first_byte_ns,
            completed_ns,
            sent_bytes,
            received_bytes,
        )
        self._end = end + _RECORD.size
        if self._end == len(self._buffer):
            self.flush()

    def flush(self) -> None:
        """Hand what is buffered to the kernel, where it outlives this process."""
        write_all(self._spool, memoryview(self._buffer)[: self._end])
        self.spool_bytes += self._end
        self._end = 0

    def close(self) -> None:
        self.flush()
        os.close(self._spool)
        os.close(self._texts)

    def _reason(self, text: str) -> int:
        kept = self._reasons.kept(text)
        known = self._numbers.get(kept)
        if known is None:
            known = self._numbers[kept] = len(self._numbers) + 1
            line = (json.dumps(kept) + "\n").encode()
            write_all(self._texts, memoryview(line))
            self.text_bytes += len(line)
        return known
