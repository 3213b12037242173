"""The proof: the winner and the default configuration once more, on a fresh server, in turns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from harness.analysis.quantile import Z_95
from harness.commands.tuning.search import PROOF, Search, measure
from harness.commands.tuning.step_words import step_line
from harness.measurement.session import Session
from harness.schema.answer import Ratio
from harness.schema.tune_result import Proof
from harness.tuning import finish
from harness.tuning.ask_and_tell import Ask
from harness.tuning.capacity import SURE_Z, Estimate, Rated
from harness.tuning.race import FEWEST
from harness.tuning.told import of_step

AROUND = (0.93, 1.0, 1.07)
"""Shares of a capacity at which it is measured in each turn."""

OVERHEAD_S = 1.5
"""What a measurement takes beside its load, about, and a configuration's first one more."""

LEAST_S = 1.0
"""Of load in a measurement, however little time is left."""


def arms(search: Search) -> tuple[int, ...]:
    """What is compared: the recommended configuration, the best one, and the default one where it serves."""
    race, default = search.race, search.race.space.default
    recommended = finish.simplest(race, search.complexity)
    if recommended is None or race.leader is None:
        return ()
    named = [recommended, race.leader.number]
    if default is not None and (race.candidates[default].served or race.candidates[default].rated):
        named.append(default)
    return tuple(dict.fromkeys(named))


def prove(search: Search, session: Session, end: float, keep: Callable[[], object]) -> None:
    """Measure the arms in turns until the time `end` of the search's clock, or for the proof's share of the
    budget; one turn at least."""
    race, end = search.race, min(end, search.clock() + PROOF * search.budget_s)
    compared, shares = _fitting(arms(search), end - search.clock())
    given = search.scenario.tune.rate_per_s
    shares = shares if given is None else (1.0,)
    most_s = max(LEAST_S, (end - search.clock()) / len(shares) / len(compared) - OVERHEAD_S)
    search.served = None
    seen: dict[int, list[Rated]] = {arm: _before(search, arm) for arm in compared}
    guess = {arm: given or math.exp(float(race.foreseen[0][arm])) for arm in compared}
    turns, longest_s = min(len(each) for each in seen.values()) // len(shares), 0.0
    while turns == 0 or longest_s == 0 or search.clock() + longest_s <= end:
        began = search.clock()
        for arm in compared if turns % 2 == 0 else compared[::-1]:
            for share in shares:
                rate = share * guess[arm]
                seconds = max(FEWEST / rate, min(most_s, race.pace.seconds(rate, 3)))
                asked = Ask(arm, rate, seconds, "the proof, in turns")
                step, what = measure(search, session, asked, "proof")
                search.progress.say(step_line(search, step))
                if isinstance(what, Rated):
                    seen[arm].append(what)
            guess[arm] = given or moved(guess[arm], seen[arm][-len(shares) :])
        turns += 1
        longest_s = max(longest_s, search.clock() - began)
        found = {arm: race.estimate_of(each, visits=turns, seed=arm) for arm, each in seen.items()}
        search.proof = _proof(found, compared, race.space.default, turns, of_cost=search.is_of_cost)
        keep()


def _fitting(compared: Sequence[int], room_s: float) -> tuple[Sequence[int], Sequence[float]]:
    """How many arms, and shares of their capacities, a first turn has time for."""
    each_s = LEAST_S + OVERHEAD_S
    if room_s >= len(AROUND) * len(compared) * each_s:
        return compared, AROUND
    ends = compared if room_s >= len(compared) * each_s else tuple(dict.fromkeys((compared[0], compared[-1])))
    return ends, (1.0,)


def _before(search: Search, arm: int) -> list[Rated]:
    """What an earlier sitting measured of it."""
    made = (step for step in search.steps if step.stage == "proof" and step.candidate == arm)
    return [what for step in made if isinstance(what := of_step(step), Rated)]


def moved(guess: float, seen: Sequence[Rated]) -> float:
    """Where to measure in the next turn, so that the objective's end is among the rates."""
    if seen and all(each.excess <= 0 for each in seen):
        return guess * AROUND[-1] / AROUND[0]
    if seen and all(each.excess > 0 for each in seen):
        return guess * AROUND[0] / AROUND[-1]
    return guess


def _proof(
    found: Mapping[int, Estimate],
    compared: Sequence[int],
    default: int | None,
    turns: int,
    *,
    of_cost: bool,
) -> Proof:
    recommended = compared[0]
    beside = default if default in found and default != recommended else None
    if of_cost:
        return Proof(
            turns=turns,
            capacities_per_s={},
            costs={str(arm): each.at_95.figure.inverted for arm, each in found.items()},
            over_default=None if beside is None else _ratio(found[beside], found[recommended]),
        )
    return Proof(
        turns=turns,
        capacities_per_s={str(arm): each.at_95.figure for arm, each in found.items()},
        over_default=None if beside is None else _ratio(found[recommended], found[beside]),
    )


def _ratio(one: Estimate, other: Estimate) -> Ratio | None:
    if one.value is None or other.value is None:
        return None
    value = one.value / other.value
    half = math.hypot(one.width, other.width) / 2 * Z_95 / SURE_Z
    interval = (value * math.exp(-half), value * math.exp(half)) if math.isfinite(half) else None
    return Ratio(value=value, interval_95=interval)
