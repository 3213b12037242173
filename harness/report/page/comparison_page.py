"""The page of a comparison: the verdict, each change beside its margin and its rounds, and what moved.

It has no script, and is drawn when it is written: it opens anywhere, and prints as it looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from harness import atomic
from harness.report import format
from harness.report.comparison_words import (
    METRIC_WORDS,
    change_words,
    how_words,
    nights_words,
    renewed_words,
    rounds_words,
    signed,
    value_words,
    verdict_words,
    why_words,
)
from harness.report.page.page import templates, text
from harness.schema.ab_result import Comparison, MetricVerdict, Moved, PointVerdict
from harness.version import version

BADGE = {"pass": "valid", "improved": "valid", "regressed": "invalid", "inconclusive": "inconclusive"}
"""The look of an outcome."""

LEAST_REACH = 0.03
"""The line of the parts that moved reaches so far at least: a share of the baseline's time of a request."""

WIDEST = 4.0
"""A plot reaches over its margin by so much at most: what is beyond lies at its edge."""


def write_comparison_page(result: Comparison, path: Path) -> None:
    """Write the page to `path`, whole or not at all. Raises HarnessError where it can't be written."""
    atomic.write_text(path, comparison_html(result), "make room")


def comparison_html(result: Comparison) -> str:
    """The page's text."""
    return (
        templates()
        .get_template("comparison.html.j2")
        .render(
            result=result,
            maker=version(),
            style=Markup(text("page.css") + text("search.css") + text("comparison.css")),
            title=_title(result),
            how=how_words(result),
            renewed=renewed_words(result),
            nights=nights_words(result),
            verdict=verdict_words(result),
            rows=list(_rows(result)),
            moved=[(point, _parts(point)) for point in result.points if point.moved],
            badge=BADGE,
            rounds_words=rounds_words,
            format=format,
        )
    )


@dataclass(frozen=True, slots=True)
class Plot:
    """A change on a line whose middle is no change; all in percent of the line from its left."""

    zero: float
    margins: tuple[float, float]
    interval: tuple[float, float] | None
    value: float
    rounds: Sequence[float]
    ends: tuple[str, str]
    """What the line's ends are, in words."""


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of one point."""

    point: PointVerdict
    first: bool
    metric: MetricVerdict
    name: str
    baseline: str
    candidate: str
    change: str
    sentence: str
    plot: Plot | None


@dataclass(frozen=True, slots=True)
class Part:
    """How much longer a request spends in a part: a bar from the middle, in percent of half the line."""

    moved: Moved
    words: str
    left: float
    width: float


def _title(result: Comparison) -> str:
    one, other = result.arms
    alone = result.nights is not None or one.scenario == other.scenario
    names = other.scenario if alone else f"{other.scenario} beside {one.scenario}"
    return f"{names}: {result.outcome}"


def _rows(result: Comparison) -> Iterator[Row]:
    for point in result.points:
        for number, metric in enumerate(point.metrics):
            yield Row(
                point=point,
                first=number == 0,
                metric=metric,
                name=METRIC_WORDS[metric.metric],
                baseline=_value(metric, metric.baseline),
                candidate=_value(metric, metric.candidate),
                change=change_words(metric.change, metric.metric),
                sentence=why_words(metric),
                plot=_plot(metric),
            )


def _value(metric: MetricVerdict, value: float | None) -> str:
    return format.DASH if value is None else value_words(metric, value)


def _plot(metric: MetricVerdict) -> Plot | None:
    if metric.change is None:
        return None
    shown = [metric.change.value, metric.margin, *metric.rounds, *(metric.change.interval_95 or ())]
    reach: float = min(max(abs(value) for value in shown) * 1.05, WIDEST * metric.margin)

    def at(value: float) -> float:
        return 50 + 50 * max(-1.0, min(1.0, value / reach))

    low_high = metric.change.interval_95
    return Plot(
        zero=at(0),
        margins=(at(-metric.margin), at(metric.margin)),
        interval=None if low_high is None else (at(low_high[0]), at(low_high[1])),
        value=at(metric.change.value),
        rounds=[at(value) for value in metric.rounds],
        ends=(signed(-reach, metric.metric), signed(reach, metric.metric)),
    )


def _parts(point: PointVerdict) -> list[Part]:
    reach = max(LEAST_REACH, *(abs(each.change.value) for each in point.moved))
    found = []
    for each in point.moved:
        share = each.change.value / reach
        found.append(
            Part(
                moved=each,
                words=change_words(each.change, "share"),
                left=50 + 50 * min(share, 0.0),
                width=50 * abs(share),
            )
        )
    return found
