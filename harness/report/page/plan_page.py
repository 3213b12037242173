"""The page of a plan: replicas, latency against rate with its band, the day, the money, and how right it is.

It has no script, and is drawn when it is written: it opens anywhere, and prints as it looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from harness import atomic
from harness.report import format
from harness.report.page.band import BandChart, band_chart
from harness.report.page.page import templates, text
from harness.report.plan_words import (
    demand_words,
    hardware_lines,
    range_words,
    replicas_words,
    verification_words,
)
from harness.schema.plan_result import HardwarePlan, PartOfDay, PlanResult


def write_plan_page(result: PlanResult, path: Path) -> None:
    """Write the page to `path`, whole or not at all. Raises HarnessError where it can't be written."""
    atomic.write_text(path, plan_html(result), "make room")


def plan_html(result: PlanResult) -> str:
    """The page's text."""
    several = len(result.hardware) > 1
    return (
        templates()
        .get_template("plan.html.j2")
        .render(
            result=result,
            style=Markup(text("page.css") + text("search.css") + text("plan.css")),
            title=_title(result),
            demand=demand_words(result),
            parts=[_part(each, result, several) for each in result.hardware],
            range_words=range_words,
            replicas_words=replicas_words,
            verification_words=verification_words,
            format=format,
        )
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """Replicas in a part of the day: its height in percent of the most, and what it says."""

    height: float
    replicas: int
    begins: str
    title: str


@dataclass(frozen=True, slots=True)
class Part:
    """What the page says of one kind of hardware."""

    plan: HardwarePlan
    lines: Sequence[tuple[str, str]]
    chart: BandChart | None
    bars: Sequence[Bar]


def _part(plan: HardwarePlan, result: PlanResult, several: bool) -> Part:
    chart = band_chart(plan.curve, result.demand.rate_per_s) if plan.curve else None
    return Part(plan, list(hardware_lines(plan, several=several)), chart, _bars(plan.day))


def _title(result: PlanResult) -> str:
    best = result.hardware[0] if result.hardware else None
    if best is None or best.replicas is None:
        return "The data can't say how many replicas it takes"
    count = best.replicas.value
    return f"{count} {'replica' if count == 1 else 'replicas'} of {best.name}"


def _bars(day: Sequence[PartOfDay]) -> list[Bar]:
    most = max((part.replicas for part in day), default=0) or 1
    return [
        Bar(
            height=100 * part.replicas / most,
            replicas=part.replicas,
            begins=f"{int(part.begins_h):02d}:{round(part.begins_h % 1 * 60):02d}",
            title=f"{format.number(part.rate_per_s)} requests/s: {part.replicas}",
        )
        for part in day
    ]
