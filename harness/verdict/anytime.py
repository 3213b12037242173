"""Tests and intervals that hold however often one looks at them.

Rounds are added until a question is settled, and who looks after each of them at a usual test finds something
in the end. An e-value has a mean of at most 1 where nothing is to be found, whenever one stops (Ville's
inequality: it reaches 1/α with a probability of at most α), and the means that it doesn't speak against make
an interval that holds at all times at once.

Sources: for a normal mean of unknown variance, the Bayes factor with the right Haar prior of the scale and a
normal prior of the standardized effect (Gönen et al., The American Statistician 59, 2005, for the formula;
Hendriksen, de Heide and Grünwald, Bayesian Analysis 16, 2021, and Wang and Ramdas, Sequential Analysis 44,
2025, for its being one). For several questions at once, the e-BH procedure, which holds however they depend
on each other (Wang and Ramdas, JRSS B 84, 2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

EFFECT = 10.0
"""Variance of the effect that an e-value expects, over that of a round. At 1 in 1,000, 6 to 30 rounds find
effects of 1 to 5 deviations about as fast as with the best choice for each."""

EFFECT_OF_INTERVAL = 3.0
"""The same of an interval, which at 1 in 20 is the narrowest for 5 to 30 rounds."""

MOST_LOG = 40.0
"""Nobody asks for more, and files hold numbers up to 2^62."""

LEAST_ROUNDS = 3
"""Fewer say nothing of how much rounds differ."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What rounds gave, each a difference of two arms."""

    count: int
    mean: float
    deviation: float
    """Of a single round."""

    @classmethod
    def of(cls, values: Sequence[float], *, resolution: float) -> Rounds:
        """`resolution`: differences of less than this aren't told apart, so that no deviation is smaller."""
        count = len(values)
        if not count:
            return cls(0, 0.0, math.inf)
        mean = math.fsum(values) / count
        if count < LEAST_ROUNDS:
            return cls(count, mean, math.inf)
        spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
        return cls(count, mean, max(spread, resolution))

    def e_value(self, mean: float = 0.0) -> float:
        """How much they speak against this mean: 1 not at all, 100 as does what chance alone gives once in a
        hundred tries."""
        if self.count < LEAST_ROUNDS:
            return 1.0
        n, more = self.count, 1 + self.count * EFFECT
        t_squared = n * ((self.mean - mean) / self.deviation) ** 2 / (n - 1)
        log = n / 2 * (math.log1p(t_squared) - math.log1p(t_squared / more)) - math.log(more) / 2
        return math.exp(min(log, MOST_LOG))

    def interval(self, alpha: float) -> tuple[float, float]:
        """It holds the true mean at all times with a probability of 1 - `alpha`."""
        half = self.deviation * _half_width(self.count, alpha, EFFECT_OF_INTERVAL)
        return self.mean - half, self.mean + half

    def smallest(self, alpha: float) -> float:
        """How far the mean must be from 0 for an e-value of 1 over `alpha`."""
        return self.deviation * _half_width(self.count, alpha, EFFECT)

    def needed(self, half_width: float, alpha: float, most: int = 10_000) -> int | None:
        """How many rounds like these give an interval with such a half; None where `most` don't."""
        if not half_width > 0 or not math.isfinite(self.deviation):
            return None
        enough = half_width / self.deviation
        low, high = LEAST_ROUNDS, most
        if _half_width(high, alpha, EFFECT_OF_INTERVAL) > enough:
            return None
        while low < high:
            middle = (low + high) // 2
            fits = _half_width(middle, alpha, EFFECT_OF_INTERVAL) <= enough
            low, high = (low, middle) if fits else (middle + 1, high)
        return low


def _half_width(count: int, alpha: float, effect: float) -> float:
    """In deviations of a round: where the e-value is 1/alpha."""
    if count < LEAST_ROUNDS:
        return math.inf
    more = 1 + count * effect
    ratio = (math.sqrt(more) / alpha) ** (2 / count)
    if ratio >= more:
        return math.inf
    return math.sqrt((ratio - 1) / (1 - ratio / more) * (count - 1) / count)


def discoveries(e_values: Sequence[float], rate: float) -> list[bool]:
    """Which of several questions are answered, so that at most a share `rate` of such answers is expected to
    be wrong; and where nothing is to be found, at most so large is the probability of any answer."""
    order = sorted(range(len(e_values)), key=lambda i: -e_values[i])
    last = 0
    for rank, i in enumerate(order, 1):
        if e_values[i] >= len(e_values) / (rank * rate):
            last = rank
    found = set(order[:last])
    return [i in found for i in range(len(e_values))]
