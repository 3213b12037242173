"""What a machine did under each load, its runs together, and the front of latency against throughput."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from harness.analysis.gpu import may_use
from harness.comparison.fairness import flaws_of, is_answer_of_overload
from harness.comparison.ratios import NONE, between, pooled, ratio, standing
from harness.comparison.subject import configuration_of
from harness.schema.compare_result import FrontierRatio, LoadPoint
from harness.schema.result import PointResult
from harness.schema.tune_result import Figure

LatencyName = Literal["p50", "p99"]
APART = 1.02
"""Throughputs that are no further apart are the same."""

LATENCIES: tuple[LatencyName, ...] = ("p50", "p99")


def load_points(runs: Sequence[Sequence[PointResult]]) -> list[LoadPoint]:
    """Of one workload; `runs` are the points of each run of the machine. By throughput, ascending.

    Points under the same load with the same configuration are one; those at which requests failed for too
    much load, or which never became steady, have no figures of a load.
    """
    groups: dict[tuple[str, str], list[PointResult]] = {}
    for points in runs:
        for point in filter(_has_figures, points):
            key = (point.point.load.label, str(sorted(configuration_of(point).items())))
            groups.setdefault(key, []).append(point)
    found = [_load_point(group) for group in groups.values()]
    return sorted(found, key=lambda point: point.throughput_per_s.value or 0.0)


def _has_figures(point: PointResult) -> bool:
    steady = point.steady_state is None or point.steady_state.steady is not False
    return bool(point.throughput_requests_per_s) and steady and not is_answer_of_overload(point)


def _load_point(group: Sequence[PointResult]) -> LoadPoint:
    def together(figure_of: Callable[[PointResult], Figure]) -> Figure:
        figures = [each for point in group if (each := figure_of(point)).value is not None]
        return pooled(figures) if figures else NONE

    flaws = dict.fromkeys(flaw for point in group for flaw in flaws_of(point))
    return LoadPoint(
        load=group[0].point.load.label,
        open_loop=group[0].point.load.open_loop,
        configuration=configuration_of(group[0]),
        throughput_per_s=together(_throughput),
        p50_s=together(lambda point: _latency(point, "p50")),
        p99_s=together(lambda point: _latency(point, "p99")),
        energy_j_per_inference=together(_energy),
        although=tuple(flaws),
    )


def _throughput(point: PointResult) -> Figure:
    requests, inferences = point.throughput_requests_per_s, point.throughput_inferences_per_s
    interval = point.throughput_interval_95
    if not requests or not inferences or interval is None:
        return Figure(value=requests, low=None, high=None)
    low, high = (end * requests / inferences for end in interval)
    return Figure(value=requests, low=low if low > 0 else None, high=high)


def _latency(point: PointResult, name: LatencyName) -> Figure:
    low, high = point.latency_s.interval_95.get(name, (None, None))
    return Figure(value=getattr(point.latency_s, name), low=low, high=high)


def _energy(point: PointResult) -> Figure:
    """Of the GPUs that it used together, as their driver counted it; never by a power that is only stated."""
    used = [
        gpu
        for gpu in point.gpu or ()
        if gpu.mig_instance is None and may_use(point.point, gpu.device, point.execution_provider)
    ]
    told = [gpu.energy_j_per_inference for gpu in used]
    known = [joules for joules in told if joules is not None]
    whole = bool(known) and len(known) == len(told) and sum(known) > 0
    return Figure(value=sum(known) if whole else None, low=None, high=None)


def latency_of(point: LoadPoint, name: LatencyName) -> Figure:
    return point.p50_s if name == "p50" else point.p99_s


def frontier(points: Sequence[LoadPoint], name: LatencyName) -> list[LoadPoint]:
    """Those that no other point beats in both throughput and this percentile; by throughput, ascending."""
    known = [p for p in points if p.throughput_per_s.value and latency_of(p, name).value]
    front: list[LoadPoint] = []
    for point in sorted(
        known, key=lambda p: (-(p.throughput_per_s.value or 0.0), latency_of(p, name).value or 0.0)
    ):
        latency = latency_of(point, name).value or 0.0
        if not front or latency < (latency_of(front[-1], name).value or 0.0):
            front.append(point)
    return front[::-1]


def frontier_ratios(one: Sequence[LoadPoint], reference: Sequence[LoadPoint]) -> list[FrontierRatio]:
    """The latency over the reference's, at each throughput that either measured and both reach."""
    found: list[FrontierRatio] = []
    for name in LATENCIES:
        fronts = frontier(one, name), frontier(reference, name)
        if not all(fronts):
            continue
        least = max(front[0].throughput_per_s.value or 0.0 for front in fronts)
        most = min(front[-1].throughput_per_s.value or 0.0 for front in fronts)
        rates = sorted({p.throughput_per_s.value or 0.0 for front in fronts for p in front})
        inside = [rate for rate in rates if least <= rate <= most]
        for rate in (rate for n, rate in enumerate(inside) if n == 0 or rate > APART * inside[n - 1]):
            of = ratio(_at(fronts[0], rate, name), _at(fronts[1], rate, name))
            found.append(
                FrontierRatio(percentile=name, throughput_per_s=rate, ratio=of, standing=standing(of))
            )
    return found


def _at(front: Sequence[LoadPoint], rate: float, name: LatencyName) -> Figure:
    """The latency at a throughput between the ends of the front."""
    rates = [point.throughput_per_s.value or 0.0 for point in front]
    above = next(number for number, each in enumerate(rates) if each >= rate)
    if above == 0 or rates[above] == rate:
        return latency_of(front[above], name)
    share = math.log(rate / rates[above - 1]) / math.log(rates[above] / rates[above - 1])
    return between(latency_of(front[above - 1], name), latency_of(front[above], name), share)
