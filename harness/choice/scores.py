"""What one point counts for in the choice of a configuration, and how exactly that is known.

With an objective a point counts for its throughput, where it holds the objective: the best is the highest
throughput that may be sold. Without one it counts for its power, throughput over mean latency, which is
highest at the knee of the curve: before it, more load brings more throughput than it costs in latency, after
it less (L. Kleinrock, "Power and deterministic rules of thumb for probabilistic problems in computer
communications", ICC 1979). An objective on errors or throughput alone is an objective.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from harness.analysis.objective import standing
from harness.schema.answer import Rule
from harness.schema.result import Interval, PointResult

Z_95 = 1.959964
"""Standard errors in half of a 95% interval."""

Fit = Literal["holds", "open", "misses"]
"""Whether a point may be named: it does, it can't be judged, it may not."""


@dataclass(frozen=True, slots=True)
class Score:
    """`log` is the natural logarithm of what decides; `error` its standard error, infinite where unknown."""

    point: PointResult
    fit: Fit
    log: float
    error: float


def rule_of(points: tuple[PointResult, ...]) -> Rule:
    """By which rule points are judged: by their objective where they have one."""
    return "objective" if any(p.objective for p in points) else "knee"


def score(point: PointResult, rule: Rule) -> Score | None:
    """None where nothing was measured that it could count for."""
    rate = point.throughput_inferences_per_s
    if not rate:
        return None
    error = _relative(rate, point.throughput_interval_95)
    if rule == "objective":
        return Score(point, _fit(point), math.log(rate), error)
    mean = point.latency_s.mean
    if not mean:
        return None
    # A closed loop that is faster has the lower latency, by as much: their errors add up.
    error += _relative(mean, point.latency_s.interval_95.get("mean"))
    return Score(point, _fit(point), math.log(rate / mean), error)


def _fit(point: PointResult) -> Fit:
    if point.verdict != "valid":
        return "open"
    fits: dict[str, Fit] = {"met": "holds", "none": "holds", "unknown": "open", "missed": "misses"}
    return fits[standing(point.objective)]


def _relative(value: float, interval: Interval | None) -> float:
    """The standard error over the value."""
    return math.inf if interval is None else (interval[1] - interval[0]) / 2 / Z_95 / value
