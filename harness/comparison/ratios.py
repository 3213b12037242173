"""The ratio of two independent figures by their own intervals, and several runs' figures as one.

The interval of a ratio is that of the difference of logarithms, whose ends come from the distances of both
figures from their own ends (the method of variance estimates recovery: G. Y. Zou and A. Donner, "Construction
of confidence limits about effect measures", Statistics in Medicine 27, 2008), which may lie unevenly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.analysis.quantile import Z_95
from harness.schema.compare_result import Standing
from harness.schema.tune_result import Figure

NONE = Figure(value=None, low=None, high=None)


def ratio(one: Figure, reference: Figure) -> Figure:
    """How many times the reference `one` is, with a 95% interval.

    Where a figure has no value (it is at least so much, or at most), the ends are those of the two intervals
    at their farthest, which hold together in 90 of 100 cases, each by itself in 95.
    """
    if one.value is None or reference.value is None:
        return Figure(
            value=None,
            low=_over(one.low, reference.high),
            high=_over(one.high, reference.low),
        )
    value = one.value / reference.value
    down = _distance(_up(one.low, one.value), _up(reference.value, reference.high))
    up = _distance(_up(one.value, one.high), _up(reference.low, reference.value))
    return Figure(
        value=value,
        low=None if down is None else value * math.exp(-down),
        high=None if up is None else value * math.exp(up),
    )


def standing(found: Figure) -> Standing:
    """Whether a ratio can be told from 1."""
    if found.low is not None and found.low > 1:
        return "more"
    if found.high is not None and found.high < 1:
        return "less"
    return "not known" if found.low is None or found.high is None else "not told apart"


def pooled(runs: Sequence[Figure]) -> Figure:
    """One figure of several runs of a machine: the mean of the logarithms.

    Its interval is the wider one of Student's, by how the runs differ, and of the runs' own intervals
    together. One run's is its own, without what differs from run to run. Where a run's value isn't known, no
    value is, and the ends are the farthest of all.
    """
    if len(runs) == 1:
        return runs[0]
    values = [run.value for run in runs if run.value]
    if len(values) < len(runs):
        return Figure(value=None, low=_farthest(runs, "low"), high=_farthest(runs, "high"))
    logs = [math.log(value) for value in values]
    mean = sum(logs) / len(logs)
    deviation = math.sqrt(sum((log - mean) ** 2 for log in logs) / (len(logs) - 1))
    between = _student(len(logs)) * deviation / math.sqrt(len(logs))
    downs = [_up(run.low, run.value) for run in runs]
    ups = [_up(run.value, run.high) for run in runs]
    return Figure(
        value=math.exp(mean),
        low=_end(mean, -1, between, downs),
        high=_end(mean, 1, between, ups),
    )


def between(one: Figure, other: Figure, share: float) -> Figure:
    """A figure at a `share` of the way from `one` to `other`, along straight lines of logarithms. Ends are
    those of figures that are wrong the same way, so the interval is no narrower than the points allow."""

    def along(start: float | None, end: float | None) -> float | None:
        return None if not start or not end else start * (end / start) ** share

    return Figure(
        value=along(one.value, other.value), low=along(one.low, other.low), high=along(one.high, other.high)
    )


def _end(mean: float, side: int, between: float, within: Sequence[float | None]) -> float | None:
    """Runs without intervals of their own, as of energy, have the one by how they differ."""
    known = [each for each in within if each is not None]
    if known and len(known) < len(within):
        return None
    own = math.sqrt(sum(each**2 for each in known)) / len(known) if known else 0.0
    return math.exp(mean + side * max(between, own))


def _farthest(runs: Sequence[Figure], end: str) -> float | None:
    ends = [getattr(run, end) for run in runs]
    if None in ends:
        return None
    return float(min(ends) if end == "low" else max(ends))


def _over(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def _up(low: float | None, high: float | None) -> float | None:
    """The distance of two ends, as a logarithm."""
    return None if not low or not high else math.log(high / low)


def _distance(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else math.hypot(one, other)


def _student(runs: int) -> float:
    from scipy.special import stdtrit

    return max(Z_95, float(stdtrit(runs - 1, 0.975)))
