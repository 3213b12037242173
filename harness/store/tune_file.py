"""`tune.json` in a run's folder: what a search has measured, whole after each step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness import atomic
from harness.schema.errors import InputError
from harness.schema.tune_result import TuneResult
from harness.store.record import MOST_BYTES, read_record
from harness.store.run_folder import RunFolder, open_run

NAME = "tune.json"


def write(folder: RunFolder, result: TuneResult) -> None:
    """Raises HarnessError where it can't be written."""
    atomic.write_text(folder.path / NAME, result.model_dump_json(indent=1))


def read(folder: RunFolder) -> TuneResult:
    """Raises NotWhole where the folder has none, or one that can't be read."""
    return read_record(folder.path / NAME, TuneResult.model_validate_json, 10 * MOST_BYTES, known=1)


def latest_unfinished(results: Path, scenario: Path | None, say: Callable[[str], None]) -> RunFolder:
    """The newest search under `results` that didn't come to its end, of `scenario` where given.

    One that can't be read is passed over, and `say` told why. Raises InputError where there is none.
    """
    for path in sorted(results.glob(f"*/{NAME}"), reverse=True):
        try:
            folder = open_run(path.parent)
            finished, begun = read(folder).finished_at, folder.read_scenario()
        except InputError as error:
            say(f"passed over: {error}")
            continue
        of_it = scenario is None or (begun.name, begun.folder) == (scenario.stem, scenario.resolve().parent)
        if of_it and finished is None:
            return folder
    of = f" of {scenario}" if scenario else ""
    raise InputError(
        f"{results} has no unfinished search{of}: start one with `harness tune` without --resume"
    )
