"""The runs of a results folder in words: a table's cells, and sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from harness.report.format import DASH, count, memory, ms, number, when
from harness.schema.history_result import (
    History,
    HistoryRun,
    SkippedFolder,
    Thinning,
    Trend,
    TrendSeries,
)

MOST_SKIPPED = 20
"""Folders that are named; --json names all."""


class RunColumn(NamedTuple):
    """A column of the list of runs."""

    title: str
    rank: int
    """Columns of a higher rank go first where not all fit."""
    of: Callable[[HistoryRun], str]
    numeric: bool = False


COLUMNS = (
    RunColumn("when", 4, lambda run: when(run.started_at).removesuffix(" UTC")),
    RunColumn("run", 0, lambda run: run.folder),
    RunColumn("scenario", 7, lambda run: run.scenario),
    RunColumn("model", 5, lambda run: run.model or DASH),
    RunColumn("host", 9, lambda run: run.host or DASH),
    RunColumn("hardware", 8, lambda run: run.hardware or DASH),
    RunColumn("kind", 3, lambda run: run.kind),
    RunColumn("outcome", 0, lambda run: run.outcome),
    RunColumn("points", 6, lambda run: _points(run), numeric=True),
    RunColumn("p99 ms", 1, lambda run: DASH if run.p99_s is None else ms(run.p99_s), numeric=True),
    RunColumn(
        "req/s",
        2,
        lambda run: DASH if run.throughput_per_s is None else number(run.throughput_per_s),
        numeric=True,
    ),
)
"""Times are UTC."""


def _points(run: HistoryRun) -> str:
    """How many there are or, where some aren't valid, "5 of 6"."""
    return str(run.points) if run.valid_points == run.points else f"{run.valid_points} of {run.points}"


def history_lines(found: History) -> Iterator[tuple[str, str]]:
    """What the list leaves to say."""
    if not found.runs:
        yield "runs", f"none of those in {found.results} fits" if found.found == 0 else "none is listed"
    elif found.found > len(found.runs):
        yield "listed", f"the newest {len(found.runs):,} of {count(found.found, 'run')}; --limit lists more"
    yield from skipped_lines(found.skipped)


def skipped_lines(skipped: Sequence[SkippedFolder]) -> Iterator[tuple[str, str]]:
    """A line for each folder that isn't counted."""
    for each in skipped[:MOST_SKIPPED]:
        yield "skipped", each.why
    if len(skipped) > MOST_SKIPPED:
        yield "skipped", f"{len(skipped) - MOST_SKIPPED:,} more folders, which --json names"


def series_words(series: TrendSeries) -> str:
    """Which point, of what, where."""
    where = ", ".join(filter(None, (series.model, series.host, series.hardware)))
    return f"{series.point} ({where})" if where else series.point


def trend_headings(found: Trend) -> tuple[str, ...]:
    return ("when", "run", f"{found.metric} {_unit(found)}", "95% interval", "to the first")


def trend_rows(found: Trend, series: TrendSeries) -> Iterator[tuple[str, ...]]:
    """The oldest first."""
    scale = 1e3 if found.unit == "s" else 1.0
    first = series.values[0].value
    for each in series.values:
        low_high = each.interval_95
        yield (
            when(each.started_at).removesuffix(" UTC"),
            each.folder,
            number(each.value * scale),
            "" if low_high is None else "–".join(number(end * scale) for end in low_high),
            f"{(each.value / first - 1) * 100:+.1f}%" if first else DASH,
        )


def _unit(found: Trend) -> str:
    return "ms" if found.unit == "s" else found.unit


def trend_lines(found: Trend) -> Iterator[tuple[str, str]]:
    """What the tables leave to say."""
    if not found.series:
        yield found.metric, f"no valid point of {found.scenario} that fits has it"
    for verdict, many in found.left_out.items():
        yield "left out", f"{count(many, 'point')}: {verdict}"
    yield from skipped_lines(found.skipped)


def thinning_lines(found: Thinning) -> Iterator[tuple[str, str]]:
    """What was removed, or would be."""
    verb = "would be removed" if found.dry_run else "removed"
    for each in found.runs:
        yield each.folder, f"{count(each.files, 'file')} with {memory(each.bytes)}"
    total = sum(each.bytes for each in found.runs)
    yield verb, f"the raw samples of {count(len(found.runs), 'run')}, {memory(total)}; every figure stays"
    yield from skipped_lines(found.skipped)
