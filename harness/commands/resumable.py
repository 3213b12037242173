"""Which run `harness run --resume` goes on with, and whose word its scenario is.

What a scenario names is executed or read: a factory, a model's files, data. In a run's folder that somebody
sent, that would be their choice. So a run goes on as it began only where this user's harness began it, which
its seal shows, or where the user names the scenario file themselves, or where nothing is named but what ships
with harness.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.commands.progress import Progress
from harness.model.catalog import CATALOG
from harness.schema.errors import InputError
from harness.schema.scenario import Scenario
from harness.store.run_folder import RunFolder, latest_unfinished, open_run
from harness.store.scenario_file import LoadedScenario, load_scenario


def resumable(what: Path | None, results: Path, progress: Progress) -> tuple[RunFolder, LoadedScenario]:
    """The run that is meant, and its scenario. Raises InputError where there is none, or where it can't be
    trusted with what it names.

    `what`: a run's folder, a scenario file (its latest unfinished run), or None (the latest unfinished run).
    """
    if what is not None and what.is_dir():
        folder, own = open_run(what), None
    else:
        folder, own = latest_unfinished(results, what, progress.say), what
    begun = folder.read_scenario()
    if folder.begun_here:
        return folder, begun
    if own is not None:
        return folder, _same(begun, load_scenario(own), folder)
    if named := _named(begun.scenario):
        raise InputError(
            f"your harness didn't begin {folder.path} (or its cache was emptied since), and going on would "
            f"use {named}, which its scenario names: give the scenario file if it is yours, as in "
            f"`harness run {begun.name}.yaml --resume` with the run under results/, or start a new run"
        )
    return folder, replace(begun, folder=folder.path)


def _same(begun: LoadedScenario, own: LoadedScenario, folder: RunFolder) -> LoadedScenario:
    """The user's own scenario, which must be the one that the run was begun with."""
    if own.scenario != begun.scenario:
        raise InputError(
            f"{folder.path} was begun with another scenario than the {own.name}.yaml of today: "
            "start a new run"
        )
    return own


def _named(scenario: Scenario) -> str | None:
    """What of this machine, beyond what ships with harness, a run of the scenario would execute or read."""
    if scenario.model not in CATALOG:
        return f"the model {scenario.model!r}"
    folders = [request.folder for request in scenario.requests if request.folder is not None]
    if folders:
        return f"the files of {folders[0]!r}"
    return None if scenario.load.replay is None else f"the file {scenario.load.replay.file!r}"
