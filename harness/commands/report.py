"""`harness report`: everything that is derived from raw samples, made again from a run's folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness import atomic
from harness.commands.derived import Derived, derived
from harness.commands.progress import Progress
from harness.report.markdown import summary
from harness.report.page.page import write_page
from harness.report.perf_analyzer_csv import csv_files
from harness.schema.errors import HarnessError, InputError
from harness.schema.result import Environment, RunResult
from harness.store.run_folder import RunFolder, open_run


def rebuild(path: Path, progress: Progress | None = None) -> RunResult:
    """Derive the figures of every finished point again, then write the result, the page and the files."""
    folder = open_run(path)
    with folder.locked():
        known: dict[str, Derived] = {}
        folder.write(collect(folder, known))
        return write_reports(folder, known, progress or Progress())


def collect(folder: RunFolder, known: dict[str, Derived]) -> RunResult:
    """The run's result from what is on disk. Points that are not yet `known`, by id, are derived and added.

    Raises InputError for a folder in which no point was finished.
    """
    name, (planned, begun) = folder.scenario_name, folder.points()
    finished = [(p, seen) for p in begun if (seen := folder.observed(p.id)) is not None]
    models, environment = folder.read_models(), folder.read(Environment)
    if not finished or not models or environment is None:
        raise InputError(
            f"no point was finished in {folder.path}: `harness run {folder.path} --resume` goes on"
        )
    for point, seen in finished:
        if point.id not in known:
            known[point.id] = derived(point, folder, seen)
    complete = planned is not None and {point.id for point, _ in finished}.issuperset(planned)
    return RunResult(
        run_id=folder.run_id,
        path=str(folder.path),
        scenario=name,
        started_at=min(seen.started_at for _, seen in finished),
        finished_at=max(seen.finished_at for _, seen in finished) if complete else None,
        planned=tuple(point.id for point in begun) if planned is None else planned,
        model=models[0],
        other_models=models[1:],
        environment=environment,
        points=tuple(known[point.id].result for point, _ in finished),
    )


def write_reports(folder: RunFolder, known: Mapping[str, Derived], progress: Progress) -> RunResult:
    """The page and the other files, from `result.json` and the series of its points, by id."""
    result = folder.read(RunResult)
    assert result is not None  # both callers have written it
    series = {id_: each.series for id_, each in known.items()}
    try:
        write_page(result, series, folder.page)
    except OSError as error:
        raise HarnessError(
            f"{folder.page} can't be written ({error.strerror}): make room, then run "
            f"`harness report {folder.path}`"
        ) from error
    atomic.write_text(folder.path / "summary.md", summary(result))
    for name, text in csv_files(result).items():
        atomic.write_text(folder.path / name, text)
    progress.say(f"page: {folder.page}")
    return result
