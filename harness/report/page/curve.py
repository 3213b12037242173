"""Where the marks of a chart lie that a template draws as SVG: shares of a limit over a rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.format import number

WIDTH, HEIGHT = 760.0, 320.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 744.0, 12.0, 276.0
"""Edges of the area that is drawn in."""

LOWEST, HIGHEST = 0.1, 10.0
"""Ends of the upward axis, which is logarithmic around the limit, 1."""

TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Curve:
    """(rate, share of the limit) of each measurement of one configuration."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Mark:
    """At (x, y), in the drawing's own units. `curve` is the number of the one that it belongs to."""

    curve: int
    x: float
    y: float
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn. What is past an end of the upward axis lies at that end."""

    names: Sequence[str]
    marks: Sequence[Mark]
    across: Sequence[tuple[float, str]]
    """(x, what it is) of each tick."""
    up: Sequence[tuple[float, str]]
    limit_y: float


def chart(curves: Sequence[Curve]) -> Chart:
    """Raises ValueError where there is no point."""
    rates = [rate for curve in curves for rate, _ in curve.points]
    least, most = 0.95 * min(rates), 1.05 * max(rates)

    def x(rate: float) -> float:
        return LEFT + (rate - least) / (most - least) * (RIGHT - LEFT)

    marks = [
        Mark(index, x(rate), _y(share), f"{number(rate)}/s: {share:.2f} of the limit")
        for index, curve in enumerate(curves)
        for rate, share in curve.points
    ]
    across = [least + part * (most - least) / 4 for part in range(5)]
    return Chart(
        names=[curve.name for curve in curves],
        marks=marks,
        across=[(x(rate), number(rate)) for rate in across],
        up=[(_y(share), f"{share:g}") for share in TICKS],
        limit_y=_y(1.0),
    )


def _y(share: float) -> float:
    inside = min(HIGHEST, max(LOWEST, share))
    return TOP + math.log(HIGHEST / inside) / math.log(HIGHEST / LOWEST) * (BOTTOM - TOP)
