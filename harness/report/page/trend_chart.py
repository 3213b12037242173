"""Where the marks of a chart lie that a template draws as SVG: a figure of one point over time.

The drawing is stretched to the room that it gets, so it holds lines alone, in whole units, each point of them
said relative to the one before: a thousand values take 20 kB. What is written stands around it, in percent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from harness.analysis.change_points import levels
from harness.report.format import count, memory, ms, number, percent, span, when
from harness.schema.history_result import TrendSeries, TrendValue

WIDE, HIGH = 10_000, 1_000
"""Units of the drawing."""

FEW = 120
"""Up to so many values each is drawn as a dot, too."""

MOST_MARKS = 40
"""Verdicts that a chart marks, the newest; all of them are among the page's nights."""


class Figure(NamedTuple):
    """How a metric is called and written."""

    name: str
    words: Callable[[float], str]


FIGURES = {
    "p50": Figure("p50", lambda v: f"{ms(v)} ms"),
    "p99": Figure("p99", lambda v: f"{ms(v)} ms"),
    "throughput": Figure("throughput", lambda v: f"{number(v)}/s"),
    "error_rate": Figure("error rate", percent),
    "gpu_memory": Figure("GPU memory", memory),
    "energy": Figure("energy", lambda v: f"{number(v)} J/inference"),
}
"""The metrics that have a chart, in the order of the charts."""


class Axis(NamedTuple):
    """The times that all charts of a page show, in seconds since 1970."""

    first: float
    last: float

    def at(self, iso: str) -> float | None:
        """Where a time lies, as a share of the axis; None where it is off it, or no time."""
        try:
            share = (seconds(iso) - self.first) / max(self.last - self.first, 1.0)
        except ValueError:
            return None
        return share if 0 <= share <= 1 else None


class Mark(NamedTuple):
    """Something at a place of a chart; `x` and `y` in percent from the upper left."""

    x: float
    title: str
    y: float = 0.0
    look: str = ""
    """A class of the style sheet."""
    href: str | None = None


class Step(NamedTuple):
    """A change of level: in percent from the left, by how much, and since when."""

    x: float
    change: str
    title: str


class TrendChart(NamedTuple):
    """What is drawn. Paths are in the drawing's own units."""

    name: str
    line: str
    band: str
    dots: str
    levels: str
    steps: Sequence[Step]
    marks: Sequence[Mark]
    top: str
    bottom: str
    """What the ends of the upward axis are."""
    latest: str
    said: str
    """The chart in a sentence, for whoever doesn't see it."""


def seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def axis_of(times: Sequence[str]) -> Axis:
    """From the earliest to the latest; a day around a single one."""
    found = [seconds(iso) for iso in times]
    first, last = min(found), max(found)
    return Axis(first, last) if last > first else Axis(first - 43_200, last + 43_200)


def trend_chart(
    metric: str,
    series: TrendSeries,
    axis: Axis,
    judged: Mapping[str, tuple[str, str]],
    hrefs: Mapping[str, str],
) -> TrendChart:
    """`judged`: what was called worse or better and why, by the night's folder; `hrefs`: pages, by folder."""
    name, words = FIGURES[metric]
    values = series.values
    low, high = _ends([each.value for each in values])

    def x(each: TrendValue) -> int:
        return round(WIDE * (axis.at(each.started_at) or 0.0))

    def y(value: float) -> int:
        return round(HIGH * (high - min(high, max(low, value))) / (high - low))

    places = [(x(each), y(each.value)) for each in values]
    upper = [(x(each), y(each.interval_95[1])) for each in values if each.interval_95]
    lower = [(x(each), y(each.interval_95[0])) for each in values if each.interval_95]
    found = levels([each.value for each in values])
    found = found if len(found) > 1 else ()
    steps = list[Step]()
    for before, after in pairwise(found):
        change, since = f"{(after.value / before.value - 1) * 100:+.1f}%", values[after.first]
        both = f"{words(before.value)} → {words(after.value)}"
        title = f"{change} since {when(since.started_at)}, {both} in the mean"
        steps.append(Step(x(since) / WIDE * 100, change, title))
    marks = list[Mark]()
    for each, (across, down) in reversed(list(zip(values, places, strict=True))):
        if each.folder in judged and len(marks) < MOST_MARKS:
            outcome, why = judged[each.folder]
            title = f"{when(each.started_at)}: {outcome}, {why}"
            marks.append(Mark(across / WIDE * 100, title, down / HIGH * 100, outcome, hrefs.get(each.folder)))
    latest = words(values[-1].value)
    interval = span(values[-1].interval_95, words)
    return TrendChart(
        name=name,
        line=_path(places),
        band=_path([*upper, *reversed(lower)]) + "z" if upper else "",
        dots="".join(f"M{across} {down}h0" for across, down in places) if len(places) <= FEW else "",
        levels="".join(
            f"M{x(values[each.first])} {y(each.value)}H{x(values[each.end - 1])}" for each in found
        ),
        steps=steps,
        marks=marks,
        top=words(high),
        bottom=words(low),
        latest=f"{latest} ({interval})" if interval else latest,
        said=f"{name}: {count(len(values), 'value')}, the newest {latest}"
        + "".join(f"; {step.title}" for step in steps),
    )


def environment_changes(series: TrendSeries, axis: Axis) -> Iterator[Mark]:
    """Where a run was measured with another harness, Triton or driver than the one before it."""
    for before, after in pairwise(series.values):
        changed = [
            f"{name} {one} → {other}"
            for name, one, other in (
                ("harness", before.harness_version, after.harness_version),
                ("Triton", before.triton_version, after.triton_version),
                ("driver", before.driver, after.driver),
            )
            if one is not None and other is not None and one != other
        ]
        if changed:
            where = axis.at(after.started_at) or 0.0
            yield Mark(where * 100, f"{when(after.started_at)}: {', '.join(changed)}", look="environment")


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Of the upward axis: a quarter more than the values need, and at least 2% to either side."""
    low, high = min(values), max(values)
    room = max((high - low) / 4, 0.02 * high) or 0.01
    return max(0.0, low - room), high + room


def _path(places: Sequence[tuple[int, int]]) -> str:
    (first, down), *_ = places
    steps = (f"{c - a} {d - b}".replace(" -", "-") for (a, b), (c, d) in pairwise(places))
    rest = "".join(step if step.startswith("-") else f" {step}" for step in steps)
    return f"M{first} {down}" + (f"l{rest.lstrip()}" if rest else "")
