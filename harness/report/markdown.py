"""`summary.md`: the answer and the table of all points, to paste into a ticket."""

from __future__ import annotations

from harness.report.answer import (
    best,
    best_line,
    limiter_line,
    objective_line,
    ran_on,
    served_by,
    verdict_line,
)
from harness.report.rows import columns, rows
from harness.report.words import when
from harness.schema.result import RunResult


def summary(run: RunResult) -> str:
    """GitHub-flavoured Markdown."""
    found = best(run)
    lines = [
        f"# {_plain(run.model.name)}, {_plain(run.scenario)}",
        "",
        *([f"> {_plain(run.model.note)}", ""] if run.model.note else []),
        f"- **Best**: {_plain(best_line(run))}",
        *([f"- **Limited by**: {_plain(limiter_line(found))}"] if found and found.limiter else []),
        f"- **Objective**: {_plain(objective_line(run))}",
        f"- **Points**: {_plain(verdict_line(run))}",
        f"- **Ran on**: {_plain(ran_on(run.environment))}",
        f"- **Served by**: {_plain(served_by(run.environment))}",
        f"- **Run**: {_plain(run.run_id)}, started {_plain(when(run.started_at))}",
        "",
        *_table(run),
    ]
    wrong = [p for p in run.points if p.reasons]
    if wrong:
        lines += ["", "## Points whose figures may not be used", ""]
        lines += [f"- {p.verdict}, {_plain(p.id)}: {_plain('; '.join(p.reasons))}" for p in wrong]
    return "\n".join(lines) + "\n"


def _table(run: RunResult) -> list[str]:
    shown = columns(run)
    if not run.points:
        return ["Nothing was measured."]
    table = rows(run, shown)
    titles = [_plain(f"{c.title}, {c.unit}" if c.unit else c.title) for c in shown]
    lines = [_line(titles), _line(["--:" if c.numeric else ":--" for c in shown])]
    lines += [_line([_plain(f"{c.text} ({c.small})" if c.small else c.text) for c in r.cells]) for r in table]
    why = dict.fromkeys(c.why for row in table for c in row.cells if c.why)
    lines += [
        "",
        "In parentheses: the 95% interval, and the share of errors. Latency counts from the intended send, "
        "and leaves out the approach to the steady state.",
    ]
    if why:
        lines += ["", "A dash: " + _plain("; ".join(why)) + "."]
    return lines


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Text that stays text: no HTML, table cell, link, emphasis or new line of its own."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "\\`*[]|#":
        text = text.replace(mark, f"\\{mark}")
    return text
