"""`harness history`: what lies in the results folder, a figure over time, and the keeping of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Unpack, get_args

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from harness.commands.progress import Progress
from harness.console import cells, console_for_tables, line, print_sentences
from harness.report.history_words import (
    COLUMNS,
    RunColumn,
    history_lines,
    series_words,
    thinning_lines,
    trend_headings,
    trend_lines,
    trend_rows,
)
from harness.schema.errors import HarnessError, InputError, NotWritable
from harness.schema.history_result import (
    METRICS,
    OUTCOMES,
    Filters,
    History,
    HistoryRun,
    RunFilters,
    RunKind,
    SkippedFolder,
    SqlTable,
    ThinnedRun,
    Thinning,
    Trend,
)
from harness.store import thinned
from harness.store.history import queries
from harness.store.history.index import indexed
from harness.store.history.queries import Wanted
from harness.store.run_archive import read_archive, write_archive
from harness.store.run_folder import open_run

_AGE = re.compile(r"(\d{1,6})([dhw])")
_HOURS = {"h": 1, "d": 24, "w": 7 * 24}

FEWEST = 4
"""Columns that the list of runs has in the narrowest terminal."""


def history(
    results: Path,
    *,
    limit: int | None = None,
    anew: bool = False,
    progress: Progress | None = None,
    **filters: Unpack[Filters],
) -> History:
    """The runs that fit, the newest first. Raises InputError for a filter that can't be meant."""
    wanted = _wanted(filters.get("scenario"), filters.get("outcome"), filters)
    progress = progress or Progress()
    with indexed(results, progress.say, anew=anew) as index:
        found, runs = queries.runs(index, wanted, limit)
        return History(results=str(results), found=found, runs=runs, skipped=queries.skipped(index))


def trend(
    scenario: str,
    metric: str,
    results: Path,
    *,
    point: str | None = None,
    progress: Progress | None = None,
    **filters: Unpack[RunFilters],
) -> Trend:
    """A figure of a scenario's points over time. Raises InputError where no run is of that scenario."""
    queries.check_metric(metric)
    wanted = _wanted(scenario, None, filters)
    progress = progress or Progress()
    with indexed(results, progress.say) as index:
        queries.check_scenario(index, scenario)
        series, left_out = queries.trend(index, metric, wanted, point)
        return Trend(
            results=str(results),
            scenario=scenario,
            metric=metric,
            unit=METRICS[metric],
            series=series,
            left_out=left_out,
            skipped=queries.skipped(index),
        )


def sql(query: str, results: Path, *, limit: int, progress: Progress | None = None) -> SqlTable:
    """What one SELECT over the index gives. Raises InputError for anything else."""
    progress = progress or Progress()
    with indexed(results, progress.say) as index:
        return queries.selected(index, query, limit)


def thin(
    older_than: str,
    results: Path,
    *,
    scenario: str | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Thinning:
    """Remove the raw samples of runs that are older, and nothing else. One that can't be thinned is named.

    Raises InputError for an age that can't be meant.
    """
    age, progress = _age(older_than), progress or Progress()
    before = _utc() - age
    with indexed(results, progress.say) as index:
        _, old = queries.runs(index, Wanted(scenario=scenario, before=before))
    done, left = list[ThinnedRun](), list[SkippedFolder]()
    for each in old:
        try:
            files = _thinned(results / each.folder, age, dry_run=dry_run)
        except HarnessError as why:
            left.append(SkippedFolder(folder=each.folder, why=str(why)))
            continue
        if files:
            size = sum(files.values())
            done.append(
                ThinnedRun(folder=each.folder, started_at=each.started_at, files=len(files), bytes=size)
            )
    return Thinning(results=str(results), dry_run=dry_run, runs=tuple(done), skipped=tuple(left))


def _thinned(path: Path, age: timedelta, *, dry_run: bool) -> dict[Path, int]:
    """The samples of a run, or of both arms of a comparison, that were removed or would be; their bytes."""
    found: dict[Path, int] = {}
    for run in (path, path / "baseline", path / "candidate"):
        if not (run / "points").is_dir():
            continue
        folder = open_run(run)
        samples = thinned.samples_in(folder.path)
        if samples and not dry_run:
            with folder.locked():
                samples = thinned.samples_in(folder.path)
                thinned.thin(folder.path, samples, age / timedelta(days=1))
        found |= samples
    return found


def export(run: Path, to: Path | None, results: Path) -> Path:
    """Write a run's folder, or the one of that name in `results`, into one file, and name it."""
    folder = open_run(run if run.is_dir() else results / run)
    to = to or Path(f"{folder.path.name}.tar")
    with ExitStack() as held:
        with suppress(NotWritable):  # of another user, or on a read-only mount
            held.enter_context(folder.locked())
        write_archive(folder.path, to)
    return to


def import_(file: Path, results: Path) -> Path:
    """Make the folder of a run of a file that `export` wrote."""
    return read_archive(file, results)


def show(found: History) -> None:
    """The runs, on stdout: as many columns as fit."""
    console = console_for_tables()
    shown = list(COLUMNS)
    rows = _table(found.runs, shown, console)
    while len(shown) > FEWEST and _width(rows, console) > console.width:
        shown.remove(max(shown, key=lambda column: column.rank))
        rows = _table(found.runs, shown, console)
    if found.runs:
        console.print(rows)
    print_sentences(history_lines(found))


def show_trend(found: Trend) -> None:
    """Each series as a table of its own, on stdout."""
    console = console_for_tables()
    for series in found.series:
        print_sentences([(found.metric, series_words(series))])
        table = _empty(console)
        for title in trend_headings(found):
            table.add_column(line(title), justify="right" if title not in ("when", "run") else "left")
        for row in trend_rows(found, series):
            table.add_row(*cells(row))
        console.print(table)
    print_sentences(trend_lines(found))


def show_sql(found: SqlTable) -> None:
    """The rows, on stdout."""
    console = console_for_tables()
    table = _empty(console)
    for title in found.columns:
        table.add_column(line(title), overflow="fold")
    for row in found.rows:
        table.add_row(*cells("" if value is None else str(value) for value in row))
    console.print(table)
    if found.more:
        print_sentences([("left out", "rows after these: --limit shows more of them")])


def show_thinning(found: Thinning) -> None:
    """What was freed, or would be, on stdout."""
    print_sentences(thinning_lines(found))


def _empty(console: Console) -> Table:
    """A table for a terminal, or of plain text."""
    style = box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN
    return Table(box=style, show_edge=False, pad_edge=False)


def _table(runs: Sequence[HistoryRun], shown: Sequence[RunColumn], console: Console) -> Table:
    table = _empty(console)
    for column in shown:
        table.add_column(line(column.title), justify="right" if column.numeric else "left", no_wrap=True)
    for run in runs:
        table.add_row(*cells(column.of(run) for column in shown))
    return table


def _width(table: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum


def _wanted(scenario: str | None, outcome: str | None, filters: RunFilters) -> Wanted:
    kind, since = filters.get("kind"), filters.get("since")
    for name, given, known in (("kind", kind, get_args(RunKind)), ("outcome", outcome, OUTCOMES)):
        if given is not None and given not in known:
            raise InputError(f"there is no {name} {given!r}: give one of {', '.join(known)}")
    begun = None if since is None else _since(since)
    return Wanted(scenario, filters.get("model"), filters.get("machine"), kind, outcome, begun)


def _since(text: str) -> datetime:
    """A time in UTC, of an age (7d, 12h, 2w) or as ISO 8601 has it."""
    if _AGE.fullmatch(text):
        return _utc() - _age(text)
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{text!r} is no time: give a date (2026-11-30) or an age (7d, 12h, 2w)") from error


def _age(text: str) -> timedelta:
    if (found := _AGE.fullmatch(text)) is None:
        raise InputError(f"{text!r} is no age: give days, hours or weeks, as in 90d, 12h, 2w")
    return timedelta(hours=int(found[1]) * _HOURS[found[2]])


def _utc() -> datetime:
    """Now, as the index has times."""
    return datetime.now(UTC).replace(tzinfo=None)
