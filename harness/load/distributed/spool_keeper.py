"""What a load process on another machine has recorded, checked and kept as it comes.

It is appended to the files that the process would have written here. Only what a `Recorder` writes gets in:
whole records of this process and its plan, and texts, not too many and not too long.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np

from harness.load.distributed.messages import Malformed
from harness.load.process.reasons import LONGEST_REASON, MOST_REASONS
from harness.load.spools import SPOOL_KINDS, spool_file, write_all
from harness.schema.samples import NO_BYTE, REQUEST, Phase, Status

_LATEST_NS = 1 << 62
_LINE_BYTES = 12 * LONGEST_REASON + 16
"""In JSON a character takes twelve at most."""
FREE_BYTES = 1 << 28
"""What is left of the disk: harness has to write the results of what it has."""


class SpoolKeeper:
    """Keeps what one process records; its plan has that many `classes` of requests."""

    def __init__(self, folder: Path, worker: int, classes: int = 1 << 16) -> None:
        self._folder, self._worker, self._classes = folder, worker, classes
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._files = {kind: os.open(spool_file(folder, worker, kind), flags, 0o644) for kind in SPOOL_KINDS}
        self._sizes = dict.fromkeys(SPOOL_KINDS, 0)
        self._rests = dict.fromkeys(SPOOL_KINDS, b"")
        """What came of a record or line that isn't whole yet."""
        self._reasons = 0

    def keep(self, kind: str, at: int, data: bytes) -> int:
        """Append `data`, which begins at byte `at` of its file; bytes of all files that are kept by now.

        Raises Malformed for what a `Recorder` doesn't write, OSError where the disk is nearly full.
        """
        if at != self._sizes[kind]:
            raise Malformed(f"byte {at} of the {kind} came, and {self._sizes[kind]} was due")
        come = self._rests[kind] + data
        whole = self._whole_records(come) if kind == "spool" else self._whole_lines(come)
        if shutil.disk_usage(self._folder).free < FREE_BYTES + len(data):
            raise OSError(f"less than {FREE_BYTES >> 20} MiB are left of the disk")
        write_all(self._files[kind], memoryview(data))
        self._rests[kind] = come[whole:]
        self._sizes[kind] += len(data)
        return sum(self._sizes.values())

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)

    def _whole_records(self, come: bytes) -> int:
        """How much of it is whole records, all of them right."""
        whole = len(come) // REQUEST.itemsize * REQUEST.itemsize
        records = np.frombuffer(come[:whole], REQUEST)
        right = (
            (records["worker"] == self._worker)
            & (records["request_class"] < self._classes)
            & (records["status"] <= max(Status))
            & (records["phase"] <= max(Phase))
            & (records["reason"] <= self._reasons)
            & (records["first_byte_ns"] >= NO_BYTE)
            & (records["first_byte_ns"] < _LATEST_NS)
        )
        for name in ("intended_ns", "sent_ns", "completed_ns"):
            right &= (records[name] >= 0) & (records[name] < _LATEST_NS)
        if not right.all():
            raise Malformed("a record of its requests is none")
        return whole

    def _whole_lines(self, come: bytes) -> int:
        whole = come.rfind(b"\n") + 1
        lines = come[:whole].split(b"\n")[:-1]
        if (
            max(map(len, [*lines, come[whole:]])) > _LINE_BYTES
            or self._reasons + len(lines) > MOST_REASONS + 1
        ):
            raise Malformed("it has more to say of errors than a load process does")
        for line in lines:
            try:
                json.loads(line).encode()
            except (ValueError, AttributeError, RecursionError):
                raise Malformed("a text of its errors is none") from None
        self._reasons += len(lines)
        return whole
