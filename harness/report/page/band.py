"""Where the lines of a chart lie that a template draws as SVG: latency over request rate, with a band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.format import ms, number
from harness.report.page.curve import BOTTOM, LEFT, RIGHT, TOP
from harness.schema.plan_result import CurvePoint

FAR = 30.0
"""Latency is drawn up to so many times its limit."""

PER_DECADE = (1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Line:
    """One figure over the rate, as the points of a polyline."""

    name: str
    points: str


@dataclass(frozen=True, slots=True)
class BandChart:
    """What is drawn, in the drawing's own units. What is past the upper end lies at it."""

    band: str
    """The percentile that the objective limits, with service times as short and as long as they may be."""
    lines: Sequence[Line]
    across: Sequence[tuple[float, str]]
    """(x, what it is) of each tick."""
    up: Sequence[tuple[float, str]]
    limit_y: float
    limit: str
    peak_x: float
    peak: str


def band_chart(curve: Sequence[CurvePoint], peak_per_s: float) -> BandChart:
    """`curve`: by rate, ascending. `peak_per_s`: the demand, which is marked."""
    limit_s = curve[0].limit_s
    least_s = min(min(each.p50_s for each in curve), limit_s) * 0.7
    most_s = min(limit_s * FAR, max(max(each.limit_high_s, each.p99_s) for each in curve) * 1.3)
    most_s = max(most_s, limit_s * 1.5)
    most = max(curve[-1].rate_per_s, peak_per_s) * 1.02

    def x(rate: float) -> float:
        return LEFT + rate / most * (RIGHT - LEFT)

    def y(seconds: float) -> float:
        inside = min(most_s, max(least_s, seconds))
        return TOP + math.log(most_s / inside) / math.log(most_s / least_s) * (BOTTOM - TOP)

    def path(values: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{x(rate):.1f},{y(seconds):.1f}" for rate, seconds in values)

    upper = [(each.rate_per_s, each.limit_high_s) for each in curve]
    lower = [(each.rate_per_s, each.limit_low_s) for each in reversed(curve)]
    lines = [
        Line(name, path([(each.rate_per_s, getattr(each, f"{name}_s")) for each in curve]))
        for name in ("p99", "p90", "p50", "mean")
    ]
    return BandChart(
        band=path(upper + lower),
        lines=lines,
        across=[(x(part * most / 5), number(part * most / 5)) for part in range(6)],
        up=[(y(tick), ms(tick)) for tick in ticks(least_s, most_s)],
        limit_y=y(limit_s),
        limit=f"{ms(limit_s)} ms",
        peak_x=x(peak_per_s),
        peak=f"{number(peak_per_s)}/s",
    )


def ticks(least_s: float, most_s: float) -> list[float]:
    """1, 2 and 5 of each decade between two ends of a logarithmic axis."""
    decades = range(math.floor(math.log10(least_s)), math.ceil(math.log10(most_s)) + 1)
    return [t for d in decades for part in PER_DECADE if least_s <= (t := part * 10.0**d) <= most_s]
