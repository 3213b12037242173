"""How a race stands: which is the best, which can't be told from it, and what going on is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.schema.tune_result import Standing
from harness.tuning.race import UNUSABLE, Candidate, Race

AS_GOOD = 0.98
"""A simpler configuration is recommended in place of the best one where it is expected to have this share of
its capacity, or more."""

DRAWS = 4000


def standing(race: Race, candidate: Candidate) -> Standing:
    """Of one configuration."""
    leader = race.leader
    if candidate.barred:
        return "barred"
    if candidate.failed and candidate.out is not None:
        return "failed"
    if candidate.out is not None:
        return "unmeasured" if len(candidate.unusable) >= UNUSABLE else "slower"
    if not candidate.tried:
        return "untried"
    if candidate is leader:
        return "best"
    return "tied" if candidate.number in tied(race) else "unlikely"


def tied(race: Race) -> tuple[int, ...]:
    """Configurations that hold the objective at a rate as high as the best one's, as far as can be told."""
    leader = race.leader
    least = None if leader is None else leader.estimate.low
    if leader is None or least is None:
        return ()
    return tuple(
        each.number
        for each in race.running
        if each is not leader
        and each.estimate.value is not None
        and (each.estimate.high or math.inf) >= least
        and race.optimism(each) >= math.log(least)
    )


def simplest(race: Race, complexity: Mapping[int, Sequence[float]]) -> int | None:
    """Number of the simplest configuration among the best one and those that are as good; None where none
    holds the objective. `complexity`: to order by, of each."""
    leader = race.leader
    if leader is None:
        return None
    mean = race.foreseen[0]
    as_good = [n for n in tied(race) if mean[n] >= mean[leader.number] + math.log(AS_GOOD)]
    return min((leader.number, *as_good), key=lambda n: (*complexity[n], n))


def worth_going_on(race: Race) -> float | None:
    """By how much more than the best one's the largest capacity is expected to be, as a share; None where
    none holds the objective."""
    leader = race.leader
    if leader is None:
        return None
    mean, deviation = race.foreseen
    open_ = [each.number for each in race.candidates if each.out is None]
    rng = np.random.default_rng(1)
    draws = mean[open_] + deviation[open_] * rng.standard_normal((DRAWS, len(open_)))
    best = draws[:, open_.index(leader.number)]
    return float(np.exp(draws.max(axis=1) - best).mean() - 1)
