"""The table of all points in a terminal, as many columns as fit; plain text where it isn't a terminal."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from harness.analysis.objective import Standing
from harness.console import line
from harness.report.answer import (
    best,
    best_line,
    bottleneck_line,
    error_lines,
    objective_line,
    run_standing,
    verdict_line,
)
from harness.report.cell import reasons
from harness.report.format import DASH
from harness.report.gpus import energy_line
from harness.report.percentile import AT_LEAST, settling_line
from harness.report.rows import Column, Row, columns, rows
from harness.schema.result import RunResult

DEAREST = 2
"""Columns of a higher rank go before the 95% intervals of the others do."""

COLOURS = {"valid": "green", "inconclusive": "yellow", "invalid": "red"}
STANDINGS: dict[Standing, str] = {"met": "green", "missed": "red", "unknown": "yellow", "none": ""}


def print_table(run: RunResult, console: Console, page: Path | None = None) -> None:
    """Print the points, what is wrong with those that aren't valid, the objective, and where the page is.

    Columns go, least important first, and then the intervals, until the table fits the console. `page` is
    the page's file, left out while there is none.
    """
    shown, table = _fitting(run, console)
    if table is None:
        for row in rows(run, shown):
            _say(console, row.point.id, row.point.verdict, COLOURS[row.point.verdict])
            for column, cell in zip(shown, row.cells, strict=True):
                if column.title != "verdict":
                    unit = f" {column.unit}" if column.unit and cell.text != DASH else ""
                    _say(console, f"  {column.title}", f"{cell.text}{unit}")
    else:
        console.print(table)
    for row in rows(run, ()):
        for reason in row.point.reasons:
            name = line(f"{row.point.id}: ", COLOURS[row.point.verdict])
            console.print(name.append_text(line(reason, "default")), soft_wrap=not console.is_terminal)
        for failed in error_lines(row.point):
            console.print(line(f"{row.point.id}: {failed}"), soft_wrap=not console.is_terminal)
    no_value, no_upper_limit = reasons(cell for row in rows(run, shown) for cell in row.cells)
    if no_value:
        _say(console, DASH, no_value)
    if no_upper_limit:
        _say(console, "≥", AT_LEAST)
        _say(console, "no upper limit", no_upper_limit)
    if settling_line(run):
        _say(console, "to settle", settling_line(run))
    standing = run_standing(run)
    _say(console, "points", verdict_line(run))
    _say(console, "objective", objective_line(run), STANDINGS[standing])
    found = best(run)
    if found is not None:
        _say(console, "best", best_line(run))
        if found.bottleneck is not None:
            _say(console, "bottleneck", bottleneck_line(found))
        if energy_line(found):
            _say(console, "energy", energy_line(found))
    if page is not None:
        _say(console, "page", str(page))


def _fitting(run: RunResult, console: Console) -> tuple[list[Column], Table | None]:
    """As many columns as fit, with intervals where that leaves the dearest ones. Where not even the dearest
    fit beside each other there is no table, and they are to stand below each other."""
    unbounded = console.options.update(max_width=10_000)
    for intervals, dearest in ((True, DEAREST), (False, 0)):
        shown = list(columns(run))
        table = _table(run, shown, console, intervals)
        while Measurement.get(console, unbounded, table).maximum > console.width:
            least = max(c.rank for c in shown)
            if least <= dearest:
                if not intervals:
                    return [c for c in columns(run) if c.rank <= DEAREST], None
                break
            shown.remove([c for c in shown if c.rank == least][-1])
            table = _table(run, shown, console, intervals)
        else:
            break
    return shown, table


def _table(run: RunResult, shown: list[Column], console: Console, intervals: bool) -> Table:
    plain = not console.is_terminal
    table = Table(box=box.MARKDOWN if plain else box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in shown:
        title = line(column.title)
        if column.unit:
            title.append(f" {column.unit}" if plain else f"\n{column.unit}")
        table.add_column(title, justify="right" if column.numeric else "left", no_wrap=True)
    for row in rows(run, shown):
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
