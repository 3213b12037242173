"""The largest request rate at which a configuration holds its objective, with an interval.

What was measured at some rates says how far the percentile that the objective limits was under its limit or
over it. That rises with the rate, so a monotone (isotonic) curve is fitted to it, over the logarithm of the
rate (R. E. Barlow et al., "Statistical Inference under Order Restrictions", 1972); the capacity is where it
crosses the limit. The interval is that of the crossings of curves through what the measurements might as well
have been, by their own intervals (a parametric bootstrap).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from harness.analysis.quantile import Z_95
from harness.schema.tune_result import Figure
from harness.tuning.likeness import Floats

DRAWS = 400
FAR = 1.5
"""How far over or under the limit, as a logarithm, is as far as it matters: at an overload a percentile grows
with the length of the measurement, and says no more than that it is one."""

BETWEEN = 0.03
"""Standard deviation of the logarithm of a capacity from one moment to another, where nothing changed but the
moment: no interval of a single measurement has it in it."""

NEARLY = 0.95
"""No capacity is over this share of what was served at saturation: beyond it a queue takes longer to fill
than anybody measures."""

SURE, SURE_Z = 0.99, 2.576
"""A configuration leaves by an interval of this level, so many standard errors to each side: many are
compared."""


@dataclass(frozen=True, slots=True)
class Rated:
    """What was measured at one request rate."""

    rate_per_s: float
    excess: float
    """Logarithm of the percentile over its limit, the largest of all limits: negative where all hold."""
    error: float
    """Its standard error."""
    batch: float | None = None
    """Inferences in a batch, on average, and how long one took."""
    batch_s: float | None = None
    cost: float | None = None
    """Of a goal at a rate, what is to be the least, and the standard error of its logarithm."""
    cost_error: float | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A positive figure that is the better the larger it is. None: nothing measured says it."""

    value: float | None
    low: float | None
    high: float | None
    """The ends of its interval."""

    @property
    def width(self) -> float:
        """Of the interval, as a logarithm."""
        return math.log(self.high / self.low) if self.low and self.high else math.inf

    @property
    def figure(self) -> Figure:
        """As it is written."""
        return Figure(value=self.value, low=self.low, high=self.high)

    @property
    def at_95(self) -> Estimate:
        """With a 95% interval, as all figures that aren't about who leaves a race."""
        if self.value is None:
            return Estimate(None, None, self.high)
        low, high = (
            None if end is None else self.value * (end / self.value) ** (Z_95 / SURE_Z)
            for end in (self.low, self.high)
        )
        return Estimate(self.value, low, high)


NOTHING = Estimate(None, None, None)


def capacity(
    seen: Sequence[Rated],
    served: tuple[float, float] | None = None,
    *,
    visits: int = 1,
    nearly: float = NEARLY,
    seed: int = 1,
) -> Estimate:
    """The capacity in requests a second by what was `seen`, with a 99% interval.

    `served`: what the configuration served when it was saturated, and its standard error; `nearly`: the share
    of it that can be had at most. `visits`: at how many moments it was measured, far enough apart for each
    to have its own luck. The value is None where every rate that was measured missed, the low end too; where
    every rate held, the value is the largest of them, or what can be had of what was served, where that is
    hardly more.
    """
    rng = np.random.default_rng(seed)
    moment = BETWEEN / math.sqrt(visits) * rng.standard_normal(DRAWS)
    ceiling, ceilings = math.inf, np.full(DRAWS, math.inf)
    if served is not None:
        ceiling = math.log(nearly * served[0])
        ceilings = ceiling + served[1] / served[0] * rng.standard_normal(DRAWS)
    if not seen:
        return Estimate(None, None, _rate(_quantile(ceilings + moment, SURE)))
    logs, excess, error = by_rate(seen)
    draws = excess + error * rng.standard_normal((DRAWS, excess.size))
    crossings = np.minimum([_crossing(logs, each, error) for each in draws], ceilings) + moment
    value = min(_crossing(logs, excess, error), ceiling)
    if value == math.inf:  # all held: at least the largest rate that did
        value = float(logs[-1])
    low, high = _quantile(crossings, 1 - SURE), _quantile(crossings, SURE)
    return Estimate(_rate(value), _rate(min(low, value)), _rate(max(high, value)))


def _quantile(draws: Floats, share: float) -> float:
    """At the end of a two-sided interval of the level `SURE` where `share` is it or the rest of it."""
    tail = share / 2 if share < 0.5 else (1 + share) / 2
    return float(np.quantile(draws, tail, method="inverted_cdf"))


def by_rate(seen: Sequence[Rated]) -> tuple[Floats, Floats, Floats]:
    """Logarithms of the rates, ascending, and for each what all measurements at it say together."""
    groups: dict[float, list[Rated]] = {}
    for each in sorted(seen, key=lambda r: r.rate_per_s):
        groups.setdefault(each.rate_per_s, []).append(each)
    excess, error = [], []
    for group in groups.values():
        weights = np.array([each.error**-2 for each in group])
        values = np.array([min(FAR, max(-FAR, each.excess)) for each in group])
        excess.append(float(values @ weights / weights.sum()))
        error.append(float(weights.sum() ** -0.5))
    return np.log(np.array(list(groups))), np.array(excess), np.array(error)


def _crossing(logs: Floats, excess: Floats, error: Floats) -> float:
    """Logarithm of the rate at which the monotone curve reaches the limit; -inf where all of it is over it,
    inf where all is under it."""
    fitted = isotonic_regression(excess, weights=error**-2).x
    if fitted[0] > 0:
        return -math.inf
    if fitted[-1] <= 0:
        return math.inf
    over = int(np.argmax(fitted > 0))
    below, above = float(fitted[over - 1]), float(fitted[over])
    share = -below / (above - below)
    return float(logs[over - 1] + share * (logs[over] - logs[over - 1]))


def _rate(log: float) -> float | None:
    return math.exp(log) if math.isfinite(log) else None


def cliff(seen: Sequence[Rated]) -> tuple[float, float] | None:
    """Two rates next to each other, at most 10% apart, between which the percentile grows to three times as
    much or more, from under its limit to over it; None where there are none such. Past the lower one there is
    no reserve."""
    if not seen:
        return None
    logs, excess, _ = by_rate(seen)
    for below in range(logs.size - 1):
        steep = excess[below + 1] - excess[below] >= math.log(3)
        if steep and excess[below] <= 0 < excess[below + 1] and logs[below + 1] - logs[below] <= 0.1:
            return math.exp(logs[below]), math.exp(logs[below + 1])
    return None
