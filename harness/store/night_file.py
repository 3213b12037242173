"""`nightly.json` in a night's folder under `results/`."""

from __future__ import annotations

from collections.abc import Callable
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


def latest(results: Path, scenario: str, say: Callable[[str], None]) -> Path:
    """The folder of the newest night of a scenario that came to its end with a comparison. Those that can't
    be read are passed over, which `say` is told. Raises InputError where there is none."""
    for path in sorted(results.glob(f"*/{NAME}"), reverse=True):
        try:
            night = read(path.parent)
        except NotWhole as fault:
            say(f"passed over: {fault}")
            continue
        if night.scenario == scenario and night.finished_at is not None and night.comparison is not None:
            return path.parent
    raise InputError(
        f"{results} has no finished night of {scenario} whose build could be accepted: run "
        "`harness nightly` without --accept first"
    )
