"""`summary.md`: the answer and the table of all points, to paste into a ticket."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.plain_text import shown
from harness.report.answer import (
    Told,
    bottleneck_line,
    error_lines,
    objective_line,
    overall_line,
    told,
    verdict_line,
)
from harness.report.cell import reasons
from harness.report.environment import provider, ran_on, served_by
from harness.report.format import when
from harness.report.gpus import energy_line, used_any
from harness.report.percentile import AT_LEAST, settling_line
from harness.report.rows import columns, rows
from harness.schema.result import RunResult


def summary(run: RunResult) -> str:
    """GitHub-flavoured Markdown."""
    with_options = provider(run.environment)
    lines = [
        f"# {plain(run.model_name)}, {plain(run.scenario)}",
        "",
        *([f"> {plain(run.model.note)}", ""] if run.model and run.model.note else []),
        *(each for answer in told(run) for each in _answer(answer)),
        *([f"- **Over all workloads**: {plain(overall_line(run))}"] if overall_line(run) else []),
        f"- **Objective**: {plain(objective_line(run))}",
        f"- **Points**: {plain(verdict_line(run))}",
        f"- **Ran on**: {plain(ran_on(run))}",
        f"- **Served by**: {plain(served_by(run.environment))}",
        *([f"- **Provider**: {plain(with_options)}"] if with_options else []),
        f"- **Run**: {plain(run.run_id)}, started {plain(when(run.started_at))}",
        "",
        *_table(run),
    ]
    wrong = [p for p in run.points if p.reasons]
    if wrong:
        lines += ["", "## Points whose figures may not be used", ""]
        lines += [f"- {p.verdict}, {plain(p.id)}: {plain('; '.join(p.reasons))}" for p in wrong]
    failed = [p for p in run.points if p.errors]
    if failed:
        lines += ["", "## Why requests failed", ""]
        lines += [f"- {plain(p.id)}: {plain('; '.join(error_lines(p)))}" for p in failed]
    if run.faults:
        lines += ["", "## What isn't whole of the run's folder", "", *(f"- {plain(f)}" for f in run.faults)]
    return "\n".join(lines) + "\n"


def _answer(answer: Told) -> list[str]:
    lines = [f"- **{plain(answer.name.capitalize())}**: {plain('; '.join((answer.line, *answer.notes)))}"]
    point = answer.point
    if point is not None and point.bottleneck is not None:
        lines.append(f"  - **Bottleneck**: {plain(bottleneck_line(point))}")
    if point is not None and energy_line(point):
        lines.append(f"  - **Energy**: {plain(energy_line(point))}")
    return lines


def _table(run: RunResult) -> list[str]:
    drawn = columns(run)
    if not run.points:
        return ["Nothing was measured."]
    table = rows(run, drawn)
    titles = [f"{c.title}, {c.unit}" if c.unit else c.title for c in drawn]
    lines = [_line(titles), _line(["--:" if c.numeric else ":--" for c in drawn])]
    lines += [_line([f"{c.text} ({c.small})" if c.small else c.text for c in r.cells]) for r in table]
    idle = ", and what an idle GPU would have used" if any(map(used_any, run.points)) else ""
    no_value, no_upper_limit = reasons(cell for row in table for cell in row.cells)
    lines += [
        "",
        f"In parentheses: the 95% interval, and the share of errors{idle}. Latency counts from the intended "
        "send, and leaves out the initial transient.",
    ]
    if no_value:
        lines += ["", f"No value: {plain(no_value)}."]
    if no_upper_limit:
        lines += ["", plain(f"≥: {AT_LEAST}. No upper limit: {no_upper_limit}") + "."]
    if settling_line(run):
        lines += ["", plain(settling_line(run)) + "."]
    return lines


def _line(texts: Iterable[str]) -> str:
    return f"| {cells(texts)} |"


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


_MARKS = re.compile(
    r"[\\`*\[\]|#~]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # within a word it is no emphasis
    r"|:(?=//)|(?<=www)\."  # an address becomes a link by itself
)


def plain(text: str) -> Markdown:
    """Text that stays text: no HTML, table cell, link, emphasis or new line of its own."""
    if isinstance(text, Markdown):
        return text
    text = shown(" ".join(text.split()))
    text = _MARKS.sub(r"\\\g<0>", text)
    return Markdown(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def code(text: str) -> Markdown:
    """Text as code, within a line or a table's cell."""
    return Markdown(f"`{shown(' '.join(text.split())).replace('`', chr(39)).replace('|', chr(92) + '|')}`")


def cells(texts: Iterable[str]) -> Markdown:
    """What stands between the outer bars of a table's row."""
    return Markdown(" | ".join(map(plain, texts)))
