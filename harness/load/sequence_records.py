"""What load processes have recorded of sequences: each when it ended, in a file beside their requests."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np

from harness.schema.samples import SEQUENCE, Phase, SequenceEnd, Sequences

_RECORD = struct.Struct("<HBBIqq")
assert _RECORD.size == SEQUENCE.itemsize


class SequenceRecorder:
    """Appends records of one load process. They are few, so that each is written as it comes."""

    def __init__(self, folder: Path, worker: int) -> None:
        self.phase = Phase.WARMUP
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(sequences_file(folder, worker), flags, 0o644)

    def record(self, request_class: int, steps: int, began_ns: int, ended_ns: int, how: SequenceEnd) -> None:
        os.write(self._file, _RECORD.pack(request_class, self.phase, how, steps, began_ns, ended_ns))

    def close(self) -> None:
        os.close(self._file)


def sequences_file(folder: Path, worker: int) -> Path:
    return folder / f"sequences-{worker}.bin"


def sequences_in(folder: Path) -> Sequences:
    """Every whole record that the load processes of this machine have left, by when each began."""
    files = sorted(folder.glob("sequences-*.bin"))
    each = [np.fromfile(file, SEQUENCE, count=file.stat().st_size // SEQUENCE.itemsize) for file in files]
    together = np.concatenate(each) if each else np.zeros(0, SEQUENCE)
    return together[np.argsort(together["began_ns"], kind="stable")]
