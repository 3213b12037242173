"""The page of a search: what is recommended, the surface, each configuration, each measurement in its order.

It has no script, and is drawn when it is written: it opens anywhere, and prints as it looks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from harness import atomic
from harness.report import format
from harness.report.page.curve import Chart, Curve, chart
from harness.report.page.page import templates, text
from harness.report.search_words import (
    answer_lines,
    goal_figure,
    goal_words,
    headings,
    order,
    setting_name,
    settings_words,
    told_words,
)
from harness.schema.point import Setting
from harness.schema.tune_result import Candidate, TuneResult
from harness.version import version

MOST_SURFACES = 12
"""Tables of the surface; more settings than these tell are in the list of configurations."""


def write_search_page(result: TuneResult, path: Path) -> None:
    """Write the page to `path`, whole or not at all. Raises HarnessError where it can't be written."""
    atomic.write_text(path, search_html(result), "make room")


def search_html(result: TuneResult) -> str:
    """The page's text."""
    return (
        templates()
        .get_template("search.html.j2")
        .render(
            result=result,
            maker=version(),
            style=Markup(text("page.css") + text("search.css")),
            lines=list(answer_lines(result)),
            rows=[_row(result, c) for c in sorted(result.candidates, key=order)],
            untried=sum(not c.tries for c in result.candidates),
            surfaces=surfaces(result),
            curves=_curves(result),
            settings_words=settings_words,
            told_words=told_words,
            figure=headings(result)[1],
            goal_figure=goal_figure,
            format=format,
        )
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A configuration in the list; where its interval lies, in percent of the largest end of any."""

    candidate: Candidate
    left: float | None
    width: float | None
    mark: float | None


def _row(result: TuneResult, candidate: Candidate) -> Row:
    figures = [goal_figure(result, c) for c in result.candidates if c.tries]
    most = max((figure.high or figure.value or 0.0 for figure in figures), default=0.0) or 1.0
    found = goal_figure(result, candidate)
    low, high = found.low or 0.0, found.high
    if high is None:
        return Row(candidate, None, None, None)
    mark = None if found.value is None else 100 * found.value / most
    return Row(candidate, 100 * low / most, 100 * (high - low) / most, mark)


@dataclass(frozen=True, slots=True)
class Cell:
    """A configuration on the surface. `share` is its capacity over the largest; None where it has none."""

    text: str
    title: str
    share: float | None
    measured: bool
    best: bool


@dataclass(frozen=True, slots=True)
class Surface:
    """The capacities at each value of two settings, where the others have these values."""

    caption: str
    across: str
    columns: Sequence[str]
    down: str
    rows: Sequence[tuple[str, Sequence[Cell | None]]]


def surfaces(result: TuneResult) -> list[Surface]:
    """Tables of the two settings with the most values, one for each combination of the others."""
    values: dict[str, dict[Setting, None]] = {}
    for candidate in result.candidates:
        for path, value in candidate.settings.items():
            values.setdefault(path, {})[value] = None
    paths = sorted(values, key=lambda path: -len(values[path]))
    if not paths:
        return []
    across, down, *others = [*paths, None][: len(paths) + (len(paths) == 1)]
    rest = [path for path in others if path is not None]
    found = {_key(c.settings): c for c in result.candidates}
    most = max((_value(result, c) or 0.0 for c in result.candidates), default=0.0)
    made = []
    for each in itertools.islice(itertools.product(*(values[path] for path in rest)), MOST_SURFACES):
        fixed = dict(zip(rest, each, strict=True))
        rows = []
        for row in values[down] if down is not None else (None,):
            at = fixed | ({down: row} if down is not None and row is not None else {})
            cells = [_cell(result, found.get(_key(at | {str(across): v})), most) for v in values[str(across)]]
            rows.append(("" if row is None else format.setting(row), cells))
        made.append(
            Surface(
                settings_words(fixed) if fixed else "",
                setting_name(str(across)),
                [format.setting(v) for v in values[str(across)]],
                "" if down is None else setting_name(down),
                rows,
            )
        )
    return made


def _key(settings: Mapping[str, Setting]) -> frozenset[tuple[str, Setting]]:
    return frozenset(settings.items())


def _value(result: TuneResult, candidate: Candidate) -> float | None:
    """As measured, or as foreseen."""
    return goal_figure(result, candidate).value or candidate.foreseen_per_s


def _cell(result: TuneResult, candidate: Candidate | None, most: float) -> Cell | None:
    if candidate is None:
        return None
    figure = goal_figure(result, candidate)
    value, measured = _value(result, candidate), figure.value is not None
    if candidate.standing in ("failed", "barred", "unmeasured"):
        return Cell(candidate.standing, candidate.why or "", None, False, False)
    if value is None:
        return Cell(format.DASH, "it was not measured", None, False, False)
    how = goal_words(result, candidate.cost or figure) if measured else "foreseen, not measured"
    best = candidate.number == result.recommended
    return Cell(format.number(value), how, value / most if most else None, measured, best)


def _curves(result: TuneResult) -> Chart | None:
    """How far the percentile was from its limit over the rate, of those that matter."""
    named = [n for n in (result.recommended, result.best, result.default) if n is not None]
    curves = []
    for number in dict.fromkeys(named):
        seen = [
            (step.rate_per_s, math.exp(step.excess))
            for step in result.steps
            if step.candidate == number and step.rate_per_s is not None and step.excess is not None
        ]
        if seen:
            name = settings_words(result.candidates[number].settings)
            roles = {result.default: "default", result.best: "best", result.recommended: "recommended"}
            role = roles[number]
            curves.append(Curve(f"{role}: {name}", sorted(seen)))
    return chart(curves) if curves else None
