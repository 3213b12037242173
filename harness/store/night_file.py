"""`nightly.json` in a night's folder under `results/`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from harness import atomic
from harness.schema.errors import InputError
from harness.schema.night_result import Night
from harness.store.record import MOST_BYTES, read_record
from harness.store.whole import NotWhole

NAME = "nightly.json"


def write(folder: Path, night: Night) -> None:
    """Raises HarnessError where it can't be written."""
    atomic.write_text(folder / NAME, night.model_dump_json(indent=1))


def read(folder: Path) -> Night:
    """Raises NotWhole where the folder has none, or one that can't be read."""
    return read_record(folder / NAME, Night.model_validate_json, 10 * MOST_BYTES, known=1)


def past(results: Path, scenario: str, say: Callable[[str], None]) -> list[Night]:
    """The nights of a scenario that came to their end with a comparison, in their order. Those that can't be
    read are passed over, which `say` is told."""
    return [night for _, night in _ended(sorted(results.glob(f"*/{NAME}")), scenario, say)]


def latest(results: Path, scenario: str, say: Callable[[str], None]) -> Path:
    """The folder of the newest of them. Raises InputError where there is none."""
    newest_first = sorted(results.glob(f"*/{NAME}"), reverse=True)
    for folder, _ in _ended(newest_first, scenario, say):
        return folder
    raise InputError(
        f"{results} has no finished night of {scenario} whose build could be accepted: run "
        "`harness nightly` without --accept first"
    )


def _ended(files: Iterable[Path], scenario: str, say: Callable[[str], None]) -> Iterator[tuple[Path, Night]]:
    """Each night that ended, with its folder."""
    for file in files:
        try:
            night = read(file.parent)
        except NotWhole as fault:
            say(f"passed over: {fault}")
            continue
        if night.scenario == scenario and night.finished_at is not None and night.comparison is not None:
            yield file.parent, night
