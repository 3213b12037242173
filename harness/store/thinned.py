"""`thinned.json` in a run's folder: its raw samples were removed, its verdict, result and environment stay.

It is written before the first sample goes, so that a folder whose samples are gone always says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from harness import atomic
from harness.clock import now
from harness.schema.errors import InputError
from harness.schema.history_result import Thinned
from harness.store import whole
from harness.store.record import read_record
from harness.store.whole import Absent
from harness.version import version

NAME = "thinned.json"
SAMPLES = ("requests.parquet", "sequences.parquet", "host.parquet", "gpu.parquet")


def read(run: Path) -> Thinned | None:
    """What was removed of a run; None where nothing was. Raises NotWhole where it can't be told."""
    try:
        return read_record(run / NAME, Thinned.model_validate_json, known=1)
    except Absent:
        return None


def samples_in(run: Path) -> dict[Path, int]:
    """The raw samples of a run's finished points and their bytes. No link is followed. Raises OSError."""
    return dict(_samples(run))


def _samples(run: Path) -> Iterator[tuple[Path, int]]:
    points = run / "points"
    if points.is_symlink() or not points.is_dir():
        return
    for point in sorted(points.iterdir()):
        if point.is_symlink() or not (point / "observed.json").is_file():
            continue
        for name in SAMPLES:
            file = point / name
            if file.is_file() and not file.is_symlink():
                yield file, file.lstat().st_size


def thin(run: Path, samples: Mapping[Path, int], older_than_days: float) -> None:
    """Remove these samples of a run, whose lock is held. Raises HarnessError where nothing may be written,
    and OSError."""
    before = read(run)
    files = {} if before is None else dict(before.files)
    record = Thinned(
        thinned_at=now(),
        harness_version=version(),
        older_than_days=older_than_days,
        files=files | {str(file.relative_to(run)): size for file, size in samples.items()},
    )
    atomic.write_text(
        run / NAME, record.model_dump_json(indent=1), "make room, or give yourself the right to"
    )
    for file in samples:
        file.unlink()


def sentence(run: Path, gone: Thinned) -> str:
    """What is said wherever the samples are asked for."""
    return (
        f"the raw samples of {run} were removed by `harness history thin` at {gone.thinned_at}: the figures "
        "in its records stay, and nothing can be derived from the samples again"
    )


def check(run: Path) -> None:
    """Raise InputError where a run has lost its samples on purpose."""
    if (gone := read(run)) is not None:
        raise InputError(sentence(run, gone))


def missing(samples: Path) -> Absent:
    """Of a file with a point's samples that isn't there: why, where that is known."""
    try:
        gone = read(run := samples.parents[2])
    except (InputError, IndexError):
        gone = None
    return whole.missing(samples) if gone is None else Absent(sentence(run, gone))
