"""What is sent: the mix of requests, and how arrivals are spaced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.planning.service_times import Floats
from harness.simulation.batcher import Kinds


@dataclass(frozen=True, slots=True)
class Demand:
    """Of any rate."""

    weights: Sequence[float]
    """Of the kinds of requests."""
    sizes: Sequence[int]
    """Inferences in a request of each kind."""
    gap_cv: float = 1.0
    """Coefficient of variation of the gaps between arrivals: 0 constant, 1 Poisson."""
    recorded_s: Floats | None = None
    """Arrivals that were recorded, in seconds, in place of drawn ones: their pattern, at any rate."""
    recorded_over_s: float = 0.0
    """How long they were recorded for, from 0."""

    @property
    def inferences(self) -> float:
        """In a request, on average."""
        return float(np.average(self.sizes, weights=self.weights))

    def kinds(self, count: int, seed: int) -> Kinds:
        """Which kind each of `count` requests is of."""
        shares = np.array(self.weights, float) / sum(self.weights)
        return np.random.default_rng([seed, 1]).choice(len(shares), count, p=shares)

    def arrivals(self, rate_per_s: float, count: int, seed: int) -> Floats:
        """When `count` requests are due, in seconds, ascending. At another rate the same come, sooner or
        later."""
        if self.recorded_s is not None:
            return self._repeated(self.recorded_s, count) / rate_per_s
        if self.gap_cv == 0:
            return np.arange(count) / rate_per_s
        rng = np.random.default_rng([seed, 4])
        shape = self.gap_cv**-2
        gaps = rng.exponential(size=count) if self.gap_cv == 1 else rng.gamma(shape, 1 / shape, count)
        return np.cumsum(gaps) / rate_per_s

    def _repeated(self, recorded_s: Floats, count: int) -> Floats:
        """At one a second on average, over and over."""
        rounds = math.ceil(count / len(recorded_s))
        turns = [recorded_s + turn * self.recorded_over_s for turn in range(rounds)]
        return np.concatenate(turns)[:count] * (len(recorded_s) / self.recorded_over_s)
