"""Which run, or which search, `--resume` goes on with, and whose word its scenario is.

What a scenario names is executed or read: a factory, a model's files, data. In a run's folder that somebody
sent, that would be their choice. So a run goes on as it began only where this user's harness began it, which
its seal shows, or where the user names the scenario file themselves, or where nothing is named but what ships
with harness.

Which points are missing is known by expanding the scenario, and never read from the folder: what the folder
says of its points must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.commands.progress import Progress
from harness.model.catalog import CATALOG
from harness.plain_text import quoted
from harness.schema.errors import InputError
from harness.schema.expansion import expand
from harness.schema.point import Point
from harness.schema.scenario import Scenario
from harness.schema.tune_result import TuneResult
from harness.store import thinned, tune_file
from harness.store.run_folder import RunFolder, StoredScenario, latest_unfinished, open_run
from harness.store.scenario_file import LoadedScenario, load_scenario
from harness.store.shipped import scenario_file


def resumable(
    what: Path | None, results: Path, progress: Progress, *, as_loaded: bool = False
) -> tuple[RunFolder, LoadedScenario]:
    """The run that is meant, and its scenario. Raises InputError where there is none, where it can't be
    trusted with what it names, and where it has other points than its scenario.

    `what`: a run's folder, a scenario file (its latest unfinished run), or None (the latest unfinished run).
    `as_loaded` is as in `expand`.
    """
    folder, own = _meant(what, results, progress, latest_unfinished)
    thinned.check(folder.path)
    loaded = _trusted(folder, own, as_loaded)
    with folder.locked():
        _check_points(folder, loaded.points)
        folder.bring_up_to_date()
    return folder, loaded


def resumable_search(
    what: Path | None, results: Path, progress: Progress
) -> tuple[RunFolder, LoadedScenario, TuneResult]:
    """The search of `harness tune` that is meant, its scenario, and how far it came. Raises InputError as
    `resumable` does, and for a search that came to its end."""
    folder, own = _meant(what, results, progress, tune_file.latest_unfinished)
    loaded = _trusted(folder, own, as_loaded=False)
    found = tune_file.read(folder)
    if found.finished_at is not None:
        raise InputError(f"the search in {folder.path} came to its end: start a new one")
    return folder, loaded, found


_Latest = Callable[[Path, Path | None, Callable[[str], None]], RunFolder]


def _meant(
    what: Path | None, results: Path, progress: Progress, latest: _Latest
) -> tuple[RunFolder, Path | None]:
    """The folder that the user named, or the `latest` one, and the scenario file if they named that."""
    if what is not None and what.is_dir():
        return open_run(what), None
    own = None if what is None else scenario_file(what)
    return latest(results, own, progress.say), own


def _trusted(folder: RunFolder, own: Path | None, as_loaded: bool) -> LoadedScenario:
    """The run's scenario, with files where it may name some. `own`: the scenario file that the user gave."""
    begun = folder.read_scenario()
    begun_here = begun.text is not None and folder.begun_here
    if own is not None:
        return _same(begun, load_scenario(own, as_loaded=as_loaded), folder, begun_here, as_loaded)
    if begun_here:
        return _expanded(begun, begun.folder, as_loaded)
    if named := _named(begun.scenario):
        why = "its cache was emptied since" if begun.text is not None else "its scenario.yaml isn't whole"
        raise InputError(
            f"your harness didn't begin {folder.path} (or {why}), and going on would "
            f"use {named}, which its scenario names: give the scenario file if it is yours, as in "
            f"`harness run {begun.name}.yaml --resume` with the run under results/, or start a new run"
        )
    return _expanded(begun, folder.path, as_loaded)


def _expanded(begun: StoredScenario, folder: Path, as_loaded: bool) -> LoadedScenario:
    points = expand(begun.scenario, as_loaded=as_loaded)
    return LoadedScenario(begun.name, folder, begun.text or "", begun.scenario, points)


def _check_points(folder: RunFolder, listed: Sequence[Point]) -> None:
    """Raise InputError where the folder has other points than its scenario: one table would hold both."""
    planned, begun, _ = folder.points()
    if planned is None:
        raise InputError(
            f"the points of {folder.path} were chosen one after another, so no scenario lists what is "
            "missing: start a new run"
        )
    by_id = {point.id: point for point in listed}
    held = dict.fromkeys((*planned, *(point.id for point in begun)))
    differ = {
        "has points that its scenario doesn't list": [id_ for id_ in held if id_ not in by_id],
        "was begun without points that its scenario lists": [id_ for id_ in by_id if id_ not in planned],
        "has points that its scenario describes otherwise": [
            point.id for point in begun if point != by_id.get(point.id, point)
        ],
    }
    for how, ids in differ.items():
        if ids:
            raise InputError(
                f"{folder.path} {how} (of {len(ids)} the first is {quoted(ids[0], 100)}): finish it with the "
                "harness that began it, or start a new run"
            )


def _same(
    begun: StoredScenario, own: LoadedScenario, folder: RunFolder, begun_here: bool, as_loaded: bool
) -> LoadedScenario:
    """The user's own scenario, which must be the one that the run was begun with. What --set changed of it
    when the run began stays changed, as long as the file is the same."""
    if own.scenario.with_defaults() == begun.scenario.with_defaults():  # 0.1 wrote the defaults down
        return own
    if begun_here and own.text == begun.text:
        return _expanded(begun, begun.folder, as_loaded)
    remedy = f"go on with it as it began, `harness run {folder.path} --resume`, or " if begun_here else ""
    raise InputError(
        f"{folder.path} was begun with another scenario than the {own.name}.yaml of today: "
        f"{remedy}start a new run"
    )


def _named(scenario: Scenario) -> str | None:
    """What of this machine, beyond what ships with harness, a run of the scenario would execute or read."""
    if isinstance(scenario.model, str) and scenario.model not in CATALOG:
        return f"the model {scenario.model!r}"
    files = [file for request in scenario.requests for file in (request.folder, request.data) if file]
    if files:
        return f"the files of {files[0]!r}"
    return next((f"the file {file!r}" for file in scenario.load.files.values()), None)
