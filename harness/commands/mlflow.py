"""`harness mlflow`: an MLflow server is told of a run, a comparison or a night."""

from __future__ import annotations

import os
from pathlib import Path

from harness.commands.progress import Progress
from harness.publish.mlflow_server import publish, tracking_uri
from harness.publish.tracked_run import TrackedRun, of_comparison, of_night, of_run
from harness.schema.errors import InputError
from harness.schema.result import RunResult
from harness.store import ab_file, night_file
from harness.store.record import read_record
from harness.store.run_folder import MOST_RESULT_BYTES, open_run
from harness.store.whole import is_there
from harness.terminal import say

EXPERIMENT = "harness"


def mlflow(
    folder: Path,
    *,
    experiment: str = EXPERIMENT,
    uri: str | None = None,
    register_model: str | None = None,
    progress: Progress | None = None,
) -> str:
    """Publish the folder of a run, a comparison or a night; the address of its page. Publishing again changes
    nothing. Raises InputError for a folder without a result, HarnessError where the server can't be told."""
    progress, where = progress or Progress(), tracking_uri(uri, os.environ)
    found = tracked(folder)
    return publish(
        found,
        folder,
        uri=where,
        experiment=experiment,
        register_model=register_model,
        say=progress.say,
    )


def tracked(folder: Path) -> TrackedRun:
    """What the folder's result says. Raises InputError where there is none."""
    path = open_run(folder).path
    if is_there(path / night_file.NAME):
        return of_night(night_file.read(path))
    if is_there(path / ab_file.NAME):
        return of_comparison(ab_file.read(path))
    if is_there(path / "result.json"):
        return of_run(read_record(path / "result.json", RunResult.model_validate_json, MOST_RESULT_BYTES))
    raise InputError(f"{folder} has no result: name the folder of a run, a comparison or a night")


def show(address: str) -> None:
    """Where it is, on stdout."""
    say(f"MLflow: {address}")
