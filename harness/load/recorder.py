"""Every request into a spool file, as it ends, for about a microsecond; and the spool read back.

The spool is REQUEST records end to end (harness.schema.samples). What was flushed survives a `kill -9`, and
a torn record at the end is passed over. Error texts stand beside it, one JSON string a line, before any
record that names them.
"""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path

import numpy as np

from harness.load.wire.connection import Reply
from harness.schema.samples import REQUEST, Phase, Requests

_RECORD = struct.Struct("<HBBHHqqqqII")
assert _RECORD.size == REQUEST.itemsize

_BUFFERED = 2048
_MOST_REASONS = 1000
_LARGEST_U4 = 2**32 - 1
_VOLATILE = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|\d{5,}")
"""Addresses, UUIDs and long numbers: what differs between two texts of the same error."""


class Recorder:
    """Appends records of one load process. Not flushed by itself: call `flush` at least once a second."""

    def __init__(self, folder: Path, worker: int) -> None:
        self.succeeded = 0
        self.failed = 0
        """Both count what was recorded in the current phase."""
        self._phase = Phase.WARMUP
        self._worker = worker
        self._buffer = bytearray(_RECORD.size * _BUFFERED)
        self._end = 0
        self._reasons: dict[str, int] = {}
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._texts = os.open(_texts(folder, worker), flags, 0o644)
        self._spool = os.open(_spool(folder, worker), flags, 0o644)

    def begin(self, phase: Phase) -> None:
        """Requests recorded from now on belong to `phase`; the counts start anew."""
        self._phase = phase
        self.succeeded = self.failed = 0

    def record(self, request_class: int, intended_ns: int, reply: Reply) -> None:
        status, reason, sent_ns, first_byte_ns, completed_ns, sent_bytes, received_bytes, _, _ = reply
        if reason is None:
            which = 0
            self.succeeded += 1
        else:
            which = self._reason(reason)
            self.failed += 1
        if received_bytes > _LARGEST_U4:
            received_bytes = _LARGEST_U4
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
        _write_all(self._spool, memoryview(self._buffer)[: self._end])
        self._end = 0

    def close(self) -> None:
        self.flush()
        os.close(self._spool)
        os.close(self._texts)

    def _reason(self, text: str) -> int:
        known = self._reasons.get(text)
        if known is not None:
            return known
        same = _VOLATILE.sub("…", text)
        known = self._reasons.get(same)
        if known is None:
            if len(self._reasons) >= _MOST_REASONS:
                same = f"another error, after {_MOST_REASONS} different ones"
                if same in self._reasons:
                    return self._reasons[same]
            known = self._reasons[same] = len(self._reasons) + 1
            _write_all(self._texts, memoryview((json.dumps(same) + "\n").encode()))
        return known


def read_spool(folder: Path) -> tuple[Requests, list[str]]:
    """Every whole record that the load processes of one drive left in `folder`, and their error texts.

    `reason` in the records is 0, or 1 + index into the list, whichever process wrote them.
    """
    parts: list[Requests] = []
    reasons: dict[str, int] = {}
    for spool in sorted(folder.glob("requests-*.spool")):
        worker = int(spool.stem.partition("-")[2])
        raw = spool.read_bytes()
        part = np.frombuffer(raw, REQUEST, count=len(raw) // REQUEST.itemsize).copy()
        texts = [json.loads(line) for line in _texts(folder, worker).read_text().splitlines()]
        numbers = [0] + [reasons.setdefault(text, len(reasons) + 1) for text in texts]
        part["reason"] = np.array(numbers, dtype=np.uint16)[part["reason"]]
        parts.append(part)
    return np.concatenate(parts) if parts else np.empty(0, REQUEST), list(reasons)


def _spool(folder: Path, worker: int) -> Path:
    return folder / f"requests-{worker}.spool"


def _texts(folder: Path, worker: int) -> Path:
    return folder / f"requests-{worker}.reasons"


def _write_all(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]
