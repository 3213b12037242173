"""Does what was measured hold the objective? Yes, no, or the data can't tell."""

from __future__ import annotations

from harness.analysis.latency import requests_needed
from harness.schema.percentiles import PERCENTILES, limit_key, share
from harness.schema.result import Interval, Latency, ObjectiveCheck
from harness.schema.scenario import Objective


def check(
    objective: Objective,
    *,
    latency: Latency,
    requests: int,
    errors: int,
    throughput: float | None,
    throughput_interval: Interval | None,
) -> tuple[ObjectiveCheck, ...]:
    """One check for each limit that the objective names.

    A limit inside the 95% interval of its figure is neither met nor missed: `met` is None. Where a percentile
    has no interval because its upper end is past the largest sample, the largest sample itself can still
    answer: if every one of enough requests was under the limit, it is met.
    """
    checks = []
    for name in PERCENTILES:
        limit = getattr(objective, limit_key(name))
        if limit is not None:
            value = getattr(latency, name)
            low, high = latency.interval_95.get(name, (None, None))
            if value is None and requests - errors >= requests_needed(share(name)):
                low, high = latency.min, latency.max
            checks.append(
                ObjectiveCheck(
                    name=limit_key(name),
                    limit=limit,
                    observed=None if value is None else value * 1e3,
                    met=_below(limit / 1e3, low, high),
                )
            )
    if objective.errors is not None:
        failed = errors / requests if requests else None
        met = None if failed is None else failed <= objective.errors
        checks.append(ObjectiveCheck(name="errors", limit=objective.errors, observed=failed, met=met))
    if objective.throughput_per_s is not None:
        below = _below(objective.throughput_per_s, *(throughput_interval or (None, None)))
        checks.append(
            ObjectiveCheck(
                name="throughput_per_s",
                limit=objective.throughput_per_s,
                observed=throughput,
                met=None if below is None else not below,
            )
        )
    return tuple(checks)


def _below(limit: float, low: float | None, high: float | None) -> bool | None:
    """True where the whole interval is at or under the limit, False where it is over, None across it."""
    if low is None or high is None:
        return None
    if high <= limit:
        return True
    return False if low > limit else None
