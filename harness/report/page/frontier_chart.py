"""Where the marks of a chart lie that a template draws as SVG: latency over throughput."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.comparison.load_points import LATENCIES, LatencyName, frontier, latency_of
from harness.report.format import ms, number
from harness.report.page.band import ticks
from harness.report.page.curve import BOTTOM, LEFT, RIGHT, TOP
from harness.schema.compare_result import LoadPoint, WorkloadComparison
from harness.schema.tune_result import Figure


@dataclass(frozen=True, slots=True)
class FrontierMark:
    """One point of a machine, in the drawing's own units, and the ends of its intervals."""

    x: float
    y: float
    across: tuple[float, float]
    up: tuple[float, float]
    on_front: bool
    title: str


@dataclass(frozen=True, slots=True)
class FrontierLine:
    """The points of one machine; `path` joins those of its front."""

    number: int
    name: str
    path: str
    marks: Sequence[FrontierMark]


@dataclass(frozen=True, slots=True)
class FrontierChart:
    """Both axes are logarithmic."""

    title: str
    lines: Sequence[FrontierLine]
    across: Sequence[tuple[float, str]]
    up: Sequence[tuple[float, str]]
    limit_y: float | None
    limit: str


def frontier_charts(workload: WorkloadComparison, names: Sequence[str]) -> list[FrontierChart]:
    """Of the p50 and the p99, each where some machine has one."""
    charts = (_chart(workload, names, percentile) for percentile in LATENCIES)
    return [chart for chart in charts if chart is not None]


def _chart(
    workload: WorkloadComparison, names: Sequence[str], percentile: LatencyName
) -> FrontierChart | None:
    of_machines = [
        [p for p in each.points if p.throughput_per_s.value and latency_of(p, percentile).value]
        for each in workload.figures
    ]
    limit_s = workload.limits_s.get(percentile)
    rates = [v for points in of_machines for p in points for v in _ends(p.throughput_per_s)]
    seconds = [v for points in of_machines for p in points for v in _ends(latency_of(p, percentile))]
    if not rates:
        return None
    seconds += [limit_s] if limit_s else []
    least_rate, most_rate = min(rates) * 0.9, max(rates) * 1.1
    least_s, most_s = min(seconds) * 0.85, max(seconds) * 1.15

    def x(rate: float) -> float:
        return LEFT + math.log(rate / least_rate) / math.log(most_rate / least_rate) * (RIGHT - LEFT)

    def y(latency_s: float) -> float:
        return TOP + math.log(most_s / latency_s) / math.log(most_s / least_s) * (BOTTOM - TOP)

    def mark(point: LoadPoint, front: Sequence[LoadPoint]) -> FrontierMark:
        rate, seen = point.throughput_per_s, latency_of(point, percentile)
        assert rate.value and seen.value
        low, high = _ends(rate)[0], _ends(rate)[-1]
        fast, slow = _ends(seen)[0], _ends(seen)[-1]
        said = f"{point.load}: {number(rate.value)}/s, {percentile} {ms(seen.value)} ms"
        return FrontierMark(
            x=x(rate.value),
            y=y(seen.value),
            across=(x(low), x(high)),
            up=(y(slow), y(fast)),
            on_front=point in front,
            title=said + (f" ({', '.join(point.although)})" if point.although else ""),
        )

    lines = []
    for place, points in enumerate(of_machines):
        front = frontier(points, percentile)
        marks = [mark(point, front) for point in points]
        path = " ".join(f"{each.x:.1f},{each.y:.1f}" for each in marks if each.on_front)
        lines.append(FrontierLine(place, names[place], path, marks))
    return FrontierChart(
        title=percentile,
        lines=lines,
        across=[(x(tick), number(tick)) for tick in ticks(least_rate, most_rate)],
        up=[(y(tick), ms(tick)) for tick in ticks(least_s, most_s)],
        limit_y=y(limit_s) if limit_s else None,
        limit=f"{ms(limit_s)} ms" if limit_s else "",
    )


def _ends(figure: Figure) -> list[float]:
    """Its interval around its value, as far as it has one."""
    return [each for each in (figure.low, figure.value, figure.high) if each]
