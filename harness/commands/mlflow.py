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
    """What the folder's result says. Raises InputError where there is none, and for one that didn't come to
    its end, which would be told another way later."""
    path = open_run(folder).path
    if is_there(path / night_file.NAME):
        night = night_file.read(path)
        return _whole(folder, night.finished_at, of_night(night))
    if is_there(path / ab_file.NAME):
        compared = ab_file.read(path)
        return _whole(folder, compared.finished_at, of_comparison(compared))
    if is_there(path / "result.json"):
        run = read_record(path / "result.json", RunResult.model_validate_json, MOST_RESULT_BYTES)
        return _whole(folder, run.finished_at, of_run(run))
    raise InputError(f"{folder} has no result: name the folder of a run, a comparison or a night")


def _whole(folder: Path, finished_at: str | None, found: TrackedRun) -> TrackedRun:
    if finished_at is None:
        raise InputError(
            f"{folder} didn't come to its end: a run goes on with `harness run {folder} --resume`"
        )
    return found


def show(address: str) -> None:
    """Where it is, on stdout."""
    say(f"MLflow: {address}")
