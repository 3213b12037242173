"""A search for the least latency, energy or memory at one rate, among those that hold the objective there.

It is the race for the largest capacity with another figure: the larger, the better is one over the cost, and
every measurement is at the same rate. What an untried configuration costs is expected by likeness alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from harness.tuning.ask_and_tell import Ask
from harness.tuning.capacity import BETWEEN, NOTHING, SURE_Z, Estimate, Rated
from harness.tuning.foresight import NOTHING_KNOWN, Foresight
from harness.tuning.likeness import Floats, predict
from harness.tuning.race import FEWEST, Candidate, Pace, Race

FIRST = 0.3
"""Share of a measurement's length that a first look has."""

DEVIATION = 0.8
"""By how much the logarithm of a cost changes over the range of a setting, about: near saturation latency is
soon a multiple."""


class AtRate(Race):
    """The estimates are of one over the cost."""

    def __init__(
        self,
        foresight: Foresight,
        *,
        rate_per_s: float,
        budget_s: float,
        pace: Pace,
        words: Callable[[float], str] = str,
    ) -> None:
        """`words`: a cost as a user reads it."""
        super().__init__(foresight, budget_s=budget_s, pace=pace)
        self.rate_per_s, self.words = rate_per_s, words

    def estimate_of(
        self,
        rated: Sequence[Rated],
        *,
        visits: int = 1,
        seed: int = 1,  # noqa: ARG002 - nothing is drawn
        each: Candidate | None = None,  # noqa: ARG002 - nothing else is known of it
    ) -> Estimate:
        seen = [(one.cost, one.cost_error) for one in rated if one.cost and one.cost_error]
        if not seen:
            return NOTHING
        logs = np.array([-math.log(cost) for cost, _ in seen])
        weights = np.array([error**-2.0 for _, error in seen])
        mean = float(logs @ weights / weights.sum())
        error = math.hypot(float(weights.sum() ** -0.5), BETWEEN / math.sqrt(visits))
        holds = _excess(rated)[0] <= 0
        low, high = math.exp(mean - SURE_Z * error), math.exp(mean + SURE_Z * error)
        return Estimate(math.exp(mean) if holds else None, low if holds else None, high)

    @property
    def foreseen(self) -> tuple[Floats, Floats]:
        """Logarithm of one over each configuration's cost, and its standard deviation, by likeness."""
        if self._foreseen is None:
            features = self.space.features
            known = [each for each in self.candidates if each.estimate.value is not None]
            if not known:
                nothing = np.zeros(len(features))
                self._foreseen = nothing, nothing + NOTHING_KNOWN
            else:
                values = np.array([math.log(each.estimate.value or 1.0) for each in known])
                errors = np.array([each.estimate.width / 2 / SURE_Z for each in known])
                at = features[[each.number for each in known]]
                self._foreseen = predict(features, at, values, errors, deviation=DEVIATION)
        return self._foreseen

    def _judge(self) -> None:
        for each in self.running:
            excess, error = _excess(each.rated)
            if excess - SURE_Z * error > 0:
                each.out = f"it misses the objective at {self.rate_per_s:g} requests/s"
        super()._judge()

    def _worse(self, most: float) -> str:
        return f"it has {self.words(1 / most)} at least"

    def _of_new_kind(self, calm: list[Candidate]) -> Candidate | None:  # noqa: ARG002
        return None

    def _visit(self, each: Candidate) -> Ask | None:
        if each.out is not None or each.rated:
            return None
        return self._at_its_rate(each, "what it has at the rate")

    def _again(self, each: Candidate) -> Ask:
        return self._at_its_rate(each, "which of the closest is the best")

    def _at_its_rate(self, each: Candidate, why: str) -> Ask:
        """A first look is short: most configurations are far from the best."""
        seconds = self.pace.seconds(self.rate_per_s, len(each.rated))
        if not each.rated:
            seconds = max(self.pace.least_s, FIRST * seconds, FEWEST / self.rate_per_s)
        return Ask(each.number, self.rate_per_s, seconds, why)


def _excess(rated: Sequence[Rated]) -> tuple[float, float]:
    """How far all measurements together are over the objective, as a logarithm, and its standard error."""
    if not rated:
        return 0.0, math.inf
    weights = np.array([each.error**-2.0 for each in rated])
    excess = float(np.array([each.excess for each in rated]) @ weights / weights.sum())
    return excess, float(weights.sum() ** -0.5)
