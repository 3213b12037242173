"""`harness report`: everything that is derived from raw samples, made again from a run's folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness import atomic
from harness.choice.workloads import answers
from harness.commands.derived import Derived, derived
from harness.commands.progress import Progress
from harness.plain_text import written
from harness.report import benchmark_json
from harness.report.markdown import summary
from harness.report.page.page import write_page
from harness.report.perf_analyzer_csv import csv_files
from harness.schema.errors import HarnessError, InputError, NotWritable
from harness.schema.observed import Observed
from harness.schema.point import Point
from harness.schema.result import Environment, PointResult, RunResult
from harness.store import thinned
from harness.store.run_folder import RunFolder, open_run
from harness.store.whole import noted


def rebuild(path: Path, progress: Progress | None = None) -> RunResult:
    """Derive the figures of every finished point again, then write the result, the page and the files.

    Nothing is written, and that is said, where this user may not write into the folder. Where the samples
    were removed (`harness history thin`) the last result stays as it is, which is said, too.
    """
    folder, known, progress = open_run(path), dict[str, Derived](), progress or Progress()
    if (gone := thinned.read(folder.path)) is not None:
        progress.say(thinned.sentence(folder.path, gone))
        return folder.read_result()
    try:
        with folder.locked():
            result = collect(folder, known)
            folder.write_result(result)
            write_reports(folder, result, known, progress)
    except NotWritable as why:
        result = collect(folder, known)
        _tell(result, progress)
        progress.say(f"nothing was written: {why}")
    return result


def collect(folder: RunFolder, known: dict[str, Derived]) -> RunResult:
    """The run's result from what is on disk. Points that are not yet `known`, by id, are derived and added.

    Whatever isn't whole in the folder is told in the result, and costs no more than itself. Raises
    InputError for a folder without a finished point that is whole.
    """
    planned, begun, told = folder.points()
    faults, finished = list(told), list[tuple[Point, Observed]]()
    again = f", and `harness run {folder.path} --resume` measures it again"
    for point in begun:
        with noted(faults, f"the point {point.id} is left out", if_lost=again):
            seen = folder.observed(point.id)
            if seen is None:
                continue
            if point.id not in known:
                known[point.id] = derived(point, folder, seen)
            faults += known[point.id].faults
            finished.append((point, seen))
    if not finished:
        raise InputError(
            f"no point was finished in {folder.path}: `harness run {folder.path} --resume` goes on", *faults
        )
    scenario, models, environment, records = folder.about(len({point.dtype for point in begun}))
    points = tuple(_as_measured(known[point.id].result, seen, environment) for point, seen in finished)
    complete = planned is not None and {point.id for point, _ in finished}.issuperset(planned)
    return RunResult(
        run_id=folder.run_id,
        path=written(folder.path),
        scenario=scenario,
        started_at=min(seen.started_at for _, seen in finished),
        finished_at=max(seen.finished_at for _, seen in finished) if complete else None,
        planned=tuple(point.id for point in begun) if planned is None else planned,
        model=models[0] if models else None,
        other_models=models[1:],
        environment=environment,
        points=points,
        answers=answers(points),
        faults=(*records, *faults),
    )


def _as_measured(result: PointResult, seen: Observed, environment: Environment | None) -> PointResult:
    """With a note where another harness measured it than began the run."""
    with_, begun_with = seen.harness_version, environment and environment.harness_version
    if with_ is None or begun_with is None or with_ == begun_with:
        return result
    note = f"it was measured with harness {with_}, and the run was begun with {begun_with}"
    return result.model_copy(update={"notes": (*result.notes, note)})


def write_reports(
    folder: RunFolder, result: RunResult, known: Mapping[str, Derived], progress: Progress
) -> None:
    """The page and the other files, from the result and the series of its points, by id.

    Raises HarnessError, and NotWritable for a folder that this user may not write.
    """
    series = {id_: each.series for id_, each in known.items()}
    try:
        write_page(result, series, folder.page)
    except OSError as error:
        raise HarnessError(
            f"{folder.page} can't be written ({error.strerror}): make room, then run "
            f"`harness report {folder.path}`"
        ) from error
    atomic.write_text(folder.path / "summary.md", summary(result))
    statistics = {id_: each.statistics for id_, each in known.items()}
    atomic.write_text(folder.path / benchmark_json.NAME, benchmark_json.of_run(result, statistics))
    for name, text in csv_files(result).items():
        atomic.write_text(folder.path / name, text)
    _tell(result, progress)
    progress.say(f"page: {folder.page}")


def _tell(result: RunResult, progress: Progress) -> None:
    for fault in result.faults:
        progress.say(fault)
