"""Does what was measured hold the objective? Yes, no, or the data can't tell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

from harness.analysis.quantile import Quantile, requests_needed
from harness.schema.percentiles import PERCENTILES, limit_key, share
from harness.schema.result import Interval, ObjectiveCheck
from harness.schema.scenario import Objective

Standing = Literal["met", "missed", "unknown", "none"]
"""How a point, or a run, stands against its objective; "none" where there is no objective."""


def standing(checks: Iterable[ObjectiveCheck]) -> Standing:
    """Of all limits together: one that is missed decides, and then one that can't be told."""
    found = {check.met for check in checks}
    if False in found:
        return "missed"
    if None in found:
        return "unknown"
    return "met" if found else "none"


def limits_latency(objective: Objective) -> bool:
    """Whether it names a percentile."""
    return any(getattr(objective, limit_key(name)) is not None for name in PERCENTILES)


def check(
    objective: Objective,
    *,
    within: Mapping[str, Quantile],
    largest_s: float,
    requests: int,
    errors: int,
    throughput: float | None,
    throughput_interval: Interval | None,
) -> tuple[ObjectiveCheck, ...]:
    """One check for each limit that the objective names.

    `within` are the percentiles of all requests, a failed one being later than any limit, and `largest_s` the
    largest of them. A limit inside the 95% interval of its figure is neither met nor missed: `met` is None.
    Where a percentile has no interval, its lower limit can still say that it is missed, and the largest of
    enough requests that it is met.
    """
    checks = []
    for name in PERCENTILES:
        limit = getattr(objective, limit_key(name))
        if limit is not None:
            found = within.get(name)
            known = found is not None and found.interval is not None and math.isfinite(found.value)
            checks.append(
                ObjectiveCheck(
                    name=limit_key(name),
                    limit=limit,
                    observed=found.value * 1e3 if found is not None and known else None,
                    met=None if found is None else _met(limit / 1e3, name, found, largest_s, requests),
                )
            )
    if objective.errors is not None:
        failed = errors / requests if requests else None
        met = None if failed is None else failed <= objective.errors
        checks.append(ObjectiveCheck(name="errors", limit=objective.errors, observed=failed, met=met))
    if objective.throughput_per_s is not None:
        below = _below(objective.throughput_per_s, throughput_interval)
        checks.append(
            ObjectiveCheck(
                name="throughput_per_s",
                limit=objective.throughput_per_s,
                observed=throughput,
                met=None if below is None else not below,
            )
        )
    return tuple(checks)


def _met(limit_s: float, name: str, found: Quantile, largest_s: float, requests: int) -> bool | None:
    if found.interval is not None:
        return _below(limit_s, found.interval)
    if found.at_least is not None and found.at_least > limit_s:
        return False
    return True if requests >= requests_needed(share(name)) and largest_s <= limit_s else None


def _below(limit: float, interval: Interval | None) -> bool | None:
    """True where the whole interval is at or under the limit, False where it is over, None across it."""
    if interval is None:
        return None
    low, high = interval
    if high <= limit:
        return True
    return False if low > limit else None
