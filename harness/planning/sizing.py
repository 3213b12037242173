"""From a demand to replicas: how many it takes, what breaks first, and when growth outruns them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from harness.planning.replica import Replica, capacity, held
from harness.schema.plan_section import Balancer

MOST = 100_000
"""Replicas; more are no answer."""


@dataclass(frozen=True)
class Fleet:
    """Replicas of one kind, and what must hold of them."""

    replica: Replica
    limits: Mapping[float, float]
    """Largest latency in seconds, by the share of requests that is at or under it."""
    balancer: Balancer = "round_robin"
    headroom: float = 0.0
    """Share of what the replicas hold that stays free."""
    spare: Callable[[int], int] = lambda _: 0
    """How many of so many replicas may be lost."""
    near_per_s: float | None = None
    """Where the capacity of one may be, so that it is found sooner."""

    @cached_property
    def one_per_s(self) -> float | None:
        """The largest rate that a single replica holds, without headroom; None where it holds at none."""
        return capacity(self.replica, self.limits, near=self.near_per_s)

    def holds(self, replicas: int, rate_per_s: float) -> bool:
        """With headroom, and without the replicas that may be lost."""
        left = replicas - self.spare(replicas)
        return (
            left > 0
            and self._serves(replicas, rate_per_s / (1 - self.headroom))
            and (left == replicas or self._serves(left, rate_per_s))
        )

    def needed(self, rate_per_s: float) -> int | None:
        """The fewest replicas that hold; None where no number does."""
        one = self.one_per_s
        if one is None:
            return None
        low = max(0, math.ceil(rate_per_s / self.replica.most_per_s) - 1)
        high = max(low + 1, math.ceil(rate_per_s / (1 - self.headroom) / one))
        while not self.holds(high, rate_per_s):
            low, high = high, high + max(1, high // 8)
            if high > MOST:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.holds(middle, rate_per_s) else (middle, high)
        return high

    def most_per_s(self, replicas: int) -> float | None:
        """The largest demand that so many hold; None where they hold none."""
        left = replicas - self.spare(replicas)
        if left < 1:
            return None
        whole = self._capacity(replicas, self.limits)
        lost = whole if left == replicas else self._capacity(left, self.limits)
        return None if whole is None or lost is None else min(whole * (1 - self.headroom), lost)

    def breaks(self, replicas: int) -> dict[float | None, float]:
        """By the share of a limit the rate from which it is missed; None: from which a queue grows without
        end."""
        found: dict[float | None, float] = {None: replicas * self.replica.most_per_s}
        for share, limit in self.limits.items():
            rate = self._capacity(replicas, {share: limit})
            if rate is not None:
                found[share] = rate
        return found

    def _capacity(self, replicas: int, limits: Mapping[float, float]) -> float | None:
        near = None if self.one_per_s is None else replicas * self.one_per_s
        return capacity(self.replica, limits, replicas=replicas, balancer=self.balancer, near=near)

    def _serves(self, replicas: int, rate_per_s: float) -> bool:
        return held(
            self.replica,
            self.limits,
            rate_per_s,
            replicas=replicas,
            balancer=self.balancer,
        )


def spare(failures: int, zones: int | None) -> Callable[[int], int]:
    """How many of so many replicas may be lost: `failures`, or a zone of `zones`, whichever is more."""

    def lost(replicas: int) -> int:
        return max(failures, math.ceil(replicas / zones) if zones else 0)

    return lost


def years_until(rate_per_s: float, most_per_s: float, growth_per_year: float) -> float | None:
    """Years until a demand that grows by a share each year reaches `most_per_s`; None: never."""
    if growth_per_year == 0:
        return None
    if most_per_s < rate_per_s:
        return 0.0
    return math.log(most_per_s / rate_per_s) / math.log1p(growth_per_year)
