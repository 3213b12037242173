"""The answers and the table of points in a terminal, as many columns as fit; plain text where it is none."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from harness.analysis.objective import Standing
from harness.console import line
from harness.report.answer import (
    Told,
    bottleneck_line,
    error_lines,
    named,
    objective_line,
    overall_line,
    run_standing,
    told,
    verdict_line,
)
from harness.report.cell import reasons
from harness.report.format import DASH
from harness.report.gpus import energy_line
from harness.report.percentile import AT_LEAST, settling_line
from harness.report.rows import Column, Row, columns, rows
from harness.schema.result import RunResult

MOST_ROWS = 24
"""Points that are listed without being asked for."""

DEAREST = 2
"""Columns of a higher rank go before the 95% intervals of the others do."""

COLOURS = {"valid": "green", "inconclusive": "yellow", "invalid": "red"}
STANDINGS: dict[Standing, str] = {"met": "green", "missed": "red", "unknown": "yellow", "none": ""}


def print_table(
    run: RunResult, console: Console, page: Path | None = None, *, everything: bool = False
) -> None:
    """Print the answers, the points, what is wrong with those that aren't valid, and where the page is.

    Of more points than a screen holds, those that the answers name, unless `everything` is asked for.
    Columns go, least important first, and then the intervals, until the table fits the console. `page` is
    the page's file, left out while there is none.
    """
    listed = None if everything or len(run.points) <= MOST_ROWS else named(run.answers, MOST_ROWS)
    for answer in told(run):
        _say_answer(console, answer)
    if overall_line(run):
        _say(console, "over all workloads", overall_line(run))
    _say(console, "objective", objective_line(run), STANDINGS[run_standing(run)])
    _say(console, "points", verdict_line(run))
    console.print()
    _print_points(run, console, listed)
    if page is not None:
        _say(console, "page", str(page))


def _print_points(run: RunResult, console: Console, listed: Collection[str] | None) -> None:
    """The table, and below it what is wrong with its points."""
    shown, table = _fitting(run, console, listed)
    if table is None:
        for row in rows(run, shown, listed):
            _say(console, row.point.id, row.point.verdict, COLOURS[row.point.verdict])
            for column, cell in zip(shown, row.cells, strict=True):
                if column.title != "verdict":
                    unit = f" {column.unit}" if column.unit and cell.text != DASH else ""
                    _say(console, f"  {column.title}", f"{cell.text}{unit}")
    elif table.row_count:
        console.print(table)
    if listed is not None:
        rest = f"{len(listed)} of {len(run.points)} points, those that the answers name; --all lists them all"
        _say(console, "listed", rest)
    for row in rows(run, (), listed):
        for reason in row.point.reasons:
            name = line(f"{row.point.id}: ", COLOURS[row.point.verdict])
            console.print(name.append_text(line(reason, "default")), soft_wrap=not console.is_terminal)
        for failed in error_lines(row.point):
            console.print(line(f"{row.point.id}: {failed}"), soft_wrap=not console.is_terminal)
    no_value, no_upper_limit = reasons(cell for row in rows(run, shown, listed) for cell in row.cells)
    if no_value:
        _say(console, DASH, no_value)
    if no_upper_limit:
        _say(console, "≥", AT_LEAST)
        _say(console, "no upper limit", no_upper_limit)
    if settling_line(run):
        _say(console, "to settle", settling_line(run))


def _say_answer(console: Console, answer: Told) -> None:
    _say(console, answer.name, answer.line)
    for note in answer.notes:
        console.print(line(f"  {note}"), soft_wrap=True)
    if answer.point is not None and answer.point.bottleneck is not None:
        _say(console, "  bottleneck", bottleneck_line(answer.point))
    if answer.point is not None and energy_line(answer.point):
        _say(console, "  energy", energy_line(answer.point))


def _fitting(
    run: RunResult, console: Console, listed: Collection[str] | None
) -> tuple[list[Column], Table | None]:
    """As many columns as fit, with intervals where that leaves the dearest ones. Where not even the dearest
    fit beside each other there is no table, and they are to stand below each other."""
    unbounded = console.options.update(max_width=10_000)
    for intervals, dearest in ((True, DEAREST), (False, 0)):
        shown = list(columns(run))
        table = _table(run, shown, console, intervals, listed)
        while Measurement.get(console, unbounded, table).maximum > console.width:
            least = max(c.rank for c in shown)
            if least <= dearest:
                if not intervals:
                    return [c for c in columns(run) if c.rank <= DEAREST], None
                break
            shown.remove([c for c in shown if c.rank == least][-1])
            table = _table(run, shown, console, intervals, listed)
        else:
            break
    return shown, table


def _table(
    run: RunResult,
    shown: list[Column],
    console: Console,
    intervals: bool,
    listed: Collection[str] | None,
) -> Table:
    plain = not console.is_terminal
    table = Table(box=box.MARKDOWN if plain else box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in shown:
        title = line(column.title)
        if column.unit:
            title.append(f" {column.unit}" if plain else f"\n{column.unit}")
        table.add_column(title, justify="right" if column.numeric else "left", no_wrap=True)
    workload = None
    for row in rows(run, shown, listed):
        if not plain and workload not in (None, row.point.point.workload):
            table.add_section()
        workload = row.point.point.workload
        table.add_row(*_cells(row, shown, intervals), style="" if row.point.verdict == "valid" else "dim")
    return table


def _cells(row: Row, shown: list[Column], intervals: bool) -> list[Text]:
    """Text, never markup: a name may hold brackets."""
    styles = {"verdict": COLOURS[row.point.verdict], "objective": STANDINGS[row.standing]}
    cells = []
    for column, cell in zip(shown, row.cells, strict=True):
        beside = cell.small and (intervals or column.title == "errors")
        text = f"{cell.text} ({cell.small})" if beside else cell.text
        cells.append(line(text, "dim" if cell.why else styles.get(column.title, "")))
    return cells


def _say(console: Console, name: str, words: str, style: str = "") -> None:
    console.print(Text.assemble(line(f"{name}: ", "bold"), line(words, style or "default")), soft_wrap=True)
