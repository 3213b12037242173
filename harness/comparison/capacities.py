"""The capacity under the objective: by a search's proof, or by the rates that a run measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.objective import limits_latency
from harness.comparison.ratios import NONE
from harness.comparison.subject import Subject
from harness.schema.result import PointResult
from harness.schema.tune_result import Figure
from harness.schema.tune_section import Tune
from harness.tuning.capacity import Estimate, Rated, capacity
from harness.tuning.told import told


@dataclass(frozen=True, slots=True)
class Capacity:
    """Requests a second with a 95% interval, and what it is by, in words. A value stands only between two
    ends: nothing is said of rates beyond those that were measured."""

    figure: Figure
    why: str


def capacity_of(subject: Subject, points: Sequence[PointResult]) -> Capacity:
    """Of one run; `points` are those of the workload and the configuration."""
    if subject.search is not None:
        return _searched(subject)
    if not points or not limits_latency(points[0].point.objective):
        return Capacity(NONE, "the scenario limits no latency")
    rated = [what for point in points if isinstance(what := told(point, Tune()), Rated)]
    if not rated:
        return Capacity(
            NONE, "no rate was measured: users of a closed loop wait for the server (give load.rate_per_s)"
        )
    rates = sorted({each.rate_per_s for each in rated})
    found = capacity(rated).at_95
    return Capacity(_bounded(found), _words(found, f"{len(rates)} rates, {rates[0]:g} to {rates[-1]:g}/s"))


def _searched(subject: Subject) -> Capacity:
    search, recommended = subject.search, subject.recommended
    assert search is not None
    if search.goal != "throughput":
        return Capacity(NONE, f"the search was for {search.goal.replace('_', ' ')} at a rate")
    if recommended is None:
        return Capacity(NONE, search.why or "the search recommends nothing")
    proven = None if search.proof is None else search.proof.capacities_per_s.get(str(recommended.number))
    if proven is not None:
        found = Estimate(proven.value, proven.low, proven.high)
        return Capacity(_bounded(found), _words(found, "the search's proof"))
    seen = recommended.capacity_per_s
    found = Estimate(seen.value, seen.low, seen.high).at_95
    return Capacity(
        _bounded(found), _words(found, "the search itself, which had no proof: the best of many looks")
    )


def _bounded(found: Estimate) -> Figure:
    both = found.low is not None and found.high is not None
    return Figure(value=found.value if both else None, low=found.low, high=found.high)


def _words(found: Estimate, by: str) -> str:
    if found.value is None and found.low is None:
        return f"by {by}: the objective held at no rate that was measured"
    if found.high is None:
        return f"by {by}: the objective may hold at larger rates than were measured"
    if found.low is None:
        return f"by {by}: the objective may hold at none of the rates that were measured"
    return f"by {by}"
