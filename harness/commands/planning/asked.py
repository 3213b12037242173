"""What a plan is asked for: the demand, and what must hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.commands.open_loop import arrivals, gap_cv, limited
from harness.load.arrivals import Times, recorded
from harness.planning.demand import Demand
from harness.schema.errors import InputError
from harness.schema.plan_section import Plan
from harness.store.scenario_file import LoadedScenario

BUSIEST_S = 60.0
"""Of a trace, the busiest time of this length is planned for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """All that the answer depends on beside what was measured."""

    demand: Demand
    plan: Plan
    limits: Mapping[float, float]
    """Largest latency in seconds, by the share of requests that is at or under it."""
    kinds: Sequence[str]
    """Names of the request classes."""
    today_per_s: float
    """Requests a second at the busiest time."""
    daily_per_s: Sequence[float] | None
    """In equal parts of a day, today."""
    arrivals: str
    """How requests are spaced, in words."""

    @property
    def growth(self) -> float:
        """How many times today's demand it is at the end of the plan."""
        return float((1 + self.plan.growth_per_year) ** self.plan.years)

    @property
    def peak_per_s(self) -> float:
        """At the busiest time, at the end of the plan."""
        return self.today_per_s * self.growth

    @property
    def first_limit(self) -> tuple[float, float]:
        """The limit of the highest percentile: its share, and seconds."""
        return max(self.limits.items())


def asked_of(loaded: LoadedScenario, rate_per_s: float | None) -> Asked:
    """`rate_per_s` in place of the scenario's own demand. Raises InputError for a scenario that says too
    little to plan for."""
    scenario, plan = loaded.scenario, loaded.scenario.plan
    limits = limited(loaded)
    classes = loaded.points[0].requests
    weights, sizes = [each.weight for each in classes], [each.batch for each in classes]
    demand, today = Demand(weights, sizes, gap_cv(scenario)), rate_per_s
    words = arrivals(scenario)
    daily: Sequence[float] | None = None
    if rate_per_s is None and plan.trace is not None:
        busiest = _busiest(recorded(plan.trace, "plan.trace", loaded.folder))
        demand = replace(demand, recorded_s=busiest, recorded_over_s=BUSIEST_S)
        today, words = len(busiest) / BUSIEST_S, f"as in the busiest minute of {plan.trace}"
    elif rate_per_s is None and plan.daily is not None:
        today, daily = max(plan.daily), plan.daily
    elif rate_per_s is None:
        today = plan.rate_per_s
    if today is None:
        raise InputError(
            f"{loaded.name} doesn't say how much is asked of it: give --rate-per-s, or `plan:` with "
            "`rate_per_s`, `daily` or `trace`"
        )
    return Asked(demand, plan, limits, [each.name for each in classes], today, daily, words)


def _busiest(times: Times) -> Times:
    """The arrivals of the busiest time of `BUSIEST_S`, from its begin."""
    counts = np.searchsorted(times, times + BUSIEST_S) - np.arange(len(times))
    first = int(np.argmax(counts))
    found: Times = times[first : first + int(counts[first])] - times[first]
    return found
