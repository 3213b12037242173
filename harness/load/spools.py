"""What load processes have recorded of one drive, in files that outlive them: their names, and read back.

`harness.load.process.recorder` writes the records, and says what stands in them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.analysis.clocks import Clock, Reading
from harness.atomic import replacing_path
from harness.schema.samples import NO_BYTE, REQUEST, Phase, Requests

CHUNK = 1 << 18
"""Records of a spool that are in memory at once: 13 MB."""

SPOOL_KINDS = ("reasons", "spool")
"""What a load process leaves: error texts, which come first, and the records that name them."""


class Spools:
    """Every whole record that the load processes of one drive left in `folder`, so far.

    `reason` in the records is 0, or 1 + index into `reasons`, whichever process wrote them, and their times
    are all on the clock of this machine.
    """

    def __init__(self, folder: Path) -> None:
        known: dict[str, int] = {}
        self._files: list[_Spool] = []
        for path in sorted(folder.glob("requests-*.spool"), key=_worker):
            # The size first: the texts of all records that it covers are then already there.
            records = path.stat().st_size // REQUEST.itemsize
            texts = _texts(folder, _worker(path))
            # What follows the last end of a line is one that isn't whole yet.
            lines = texts.read_bytes().split(b"\n")[:-1] if texts.exists() else []
            numbers = np.full(2**16, 2**16 - 1, dtype=np.uint16)  # of no text, where the spool is damaged
            numbers[0] = 0
            for own, line in enumerate(lines[: numbers.size - 2], start=1):
                number = known.setdefault(json.loads(line), len(known) + 1)
                numbers[own] = min(number, 2**16 - 1)
            self._files.append(_Spool(path, records, numbers, read_clock(folder, _worker(path))))
        self.reasons = list(known)
        self.size = sum(file.records for file in self._files)
        """Records."""

    def chunks(self) -> Iterator[Requests]:
        """The records, one load process after the other, each in the order in which its requests ended."""
        for file in self._files:
            with file.path.open("rb") as records:
                for start in range(0, file.records, CHUNK):
                    chunk = np.fromfile(records, REQUEST, count=min(CHUNK, file.records - start))
                    chunk["reason"] = file.numbers[chunk["reason"]]
                    if file.clock is not None:
                        unanswered = chunk["first_byte_ns"] == NO_BYTE
                        for name in ("intended_ns", "sent_ns", "first_byte_ns", "completed_ns"):
                            chunk[name] = file.clock.ours(chunk[name])
                        chunk["first_byte_ns"][unanswered] = NO_BYTE
                    yield chunk


def of_arm(chunks: Iterable[Requests], number: int, classes: int) -> Iterator[Requests]:
    """Of the records of arms that have so many request classes each, those of one arm, classes from 0."""
    for chunk in chunks:
        own = chunk[chunk["request_class"] // classes == number]
        own["request_class"] %= classes
        yield own


class _Spool(NamedTuple):
    path: Path
    records: int
    numbers: npt.NDArray[np.uint16]
    """For each number of a reason, the one that it has among those of all processes."""
    clock: Clock | None


def read_spool(folder: Path) -> tuple[Requests, list[str]]:
    """What `Spools` gives, in one array, and the texts of its reasons."""
    spools = Spools(folder)
    requests = np.empty(spools.size, REQUEST)
    end = 0
    for chunk in spools.chunks():
        requests[end : end + chunk.size] = chunk
        end += chunk.size
    return requests, spools.reasons


def recorded(folder: Path, worker: int, phase: Phase) -> int:
    """How many requests of `phase` one load process has left."""
    path = _spool(folder, worker)
    if not path.exists() or path.stat().st_size < REQUEST.itemsize:  # an empty file can't be mapped
        return 0
    records = np.memmap(path, REQUEST, mode="r", shape=(path.stat().st_size // REQUEST.itemsize,))
    return int((records["phase"] == phase).sum())


def recorded_bytes(folder: Path, worker: int) -> int:
    """How much one load process has left, in all its files."""
    files = (spool_file(folder, worker, kind) for kind in SPOOL_KINDS)
    return sum(file.stat().st_size for file in files if file.exists())


def write_clock(folder: Path, worker: int, clock: Clock) -> None:
    """Keep what is known of the clock that a load process on another machine took its times from."""
    with replacing_path(_clock(folder, worker)) as scratch:  # a look may be reading it
        scratch.write_text(json.dumps([astuple(reading) for reading in clock.readings]))


def read_clock(folder: Path, worker: int) -> Clock | None:
    """None for a load process on this machine, where there is one clock."""
    path = _clock(folder, worker)
    return Clock(tuple(Reading(*r) for r in json.loads(path.read_text()))) if path.exists() else None


def _worker(spool: Path) -> int:
    return int(spool.stem.partition("-")[2])


def _clock(folder: Path, worker: int) -> Path:
    return folder / f"requests-{worker}.clock"


def spool_file(folder: Path, worker: int, kind: str) -> Path:
    """The file of one of `SPOOL_KINDS` that a load process writes."""
    if kind not in SPOOL_KINDS:
        raise ValueError(f"{kind!r} is nothing that a load process records")
    return folder / f"requests-{worker}.{kind}"


def _spool(folder: Path, worker: int) -> Path:
    return spool_file(folder, worker, "spool")


def _texts(folder: Path, worker: int) -> Path:
    return spool_file(folder, worker, "reasons")


def write_all(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]
