"""A search as its result: how each configuration stands, and what is recommended."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.clock import now
from harness.commands.tuning.search import Search
from harness.report.search_words import settings_words
from harness.schema.result import PointResult
from harness.schema.tune_result import Candidate, Step, TuneResult
from harness.tuning import finish
from harness.tuning.capacity import NOTHING, cliff
from harness.tuning.front import on_front


def outcome(search: Search, *, finished: bool) -> TuneResult:
    """The result by all that was measured until now."""
    race, leader = search.race, search.race.leader
    settings = search.loaded.points[0].configuration
    varied = set(search.configurations[0])
    candidates = [_candidate(search, number) for number in range(len(search.configurations))]
    front = on_front(candidates)
    return TuneResult(
        run_id=search.folder.run_id,
        path=str(search.folder.path),
        scenario=search.loaded.name,
        started_at=search.started_at,
        finished_at=now() if finished else None,
        objective={name: limit for name, limit in search.scenario.objective if limit is not None},
        goal=search.scenario.tune.goal,
        rate_per_s=search.scenario.tune.rate_per_s,
        budget_s=search.budget_s,
        used_s=race.used_s + sum(step.took_s for step in search.steps if step.stage == "proof"),
        environment=search.environment,
        fixed={path: value for path, value in settings.items() if path not in varied},
        default=race.space.default,
        best=None if leader is None else leader.number,
        recommended=finish.simplest(race, search.complexity),
        why=None if leader is not None else _nearest(search),
        decided=race.decided,
        worth_going_on=finish.worth_going_on(race),
        proof=search.proof,
        candidates=tuple(each.model_copy(update={"on_front": each.number in front}) for each in candidates),
        steps=tuple(search.steps),
    )


def _nearest(search: Search) -> str:
    """Of an objective that nothing meets, what came nearest."""
    rated = [step for step in search.steps if step.excess is not None]
    if rated and all(each.estimate.value is None for each in search.race.candidates) and search.is_of_cost:
        return _none_at_rate(search, rated)
    if not rated:
        if any(step.told == "served" for step in search.steps):
            return "the time was over before a rate was measured: raise --minutes, or tune.minutes"
        told = next((step.reason for step in reversed(search.steps) if step.reason), None)
        return "no configuration could be measured" + (f": {told}" if told else "")
    best = min(rated, key=lambda step: step.excess or 0.0)
    assert best.excess is not None
    settings = settings_words(search.configurations[best.candidate])
    return (
        "no configuration holds the objective at any rate that was measured; the nearest was "
        f"{settings} at {best.rate_per_s:g}/s: {math.exp(best.excess):.2f} times its limit"
    )


def _none_at_rate(search: Search, rated: Sequence[Step]) -> str:
    best = min(rated, key=lambda step: step.excess or 0.0)
    return (
        f"no configuration holds the objective at {best.rate_per_s:g} requests/s; the nearest was "
        f"{settings_words(search.configurations[best.candidate])}: {math.exp(best.excess or 0.0):.2f} times "
        "its limit"
    )


def _candidate(search: Search, number: int) -> Candidate:
    race = search.race
    each = race.candidates[number]
    at = _at(search, number)
    return Candidate(
        number=number,
        settings=dict(race.space.configurations[number]),
        standing=finish.standing(race, each),
        why=each.out,
        capacity_per_s=(NOTHING if search.is_of_cost else each.estimate).figure,
        cost=each.estimate.figure.inverted if search.is_of_cost else None,
        served_per_s=None if each.served is None else each.served.rate_per_s,
        foreseen_per_s=None if search.is_of_cost else _foreseen(search, number),
        cliff=cliff(each.rated),
        measured_s=each.measured_s,
        tries=sum(step.candidate == number for step in search.steps),
        at=None if at is None else at.id,
        p50_s=None if at is None else at.latency_s.p50,
        p99_s=None if at is None else at.latency_s.p99,
        memory_bytes=None if at is None else _memory(at),
        energy_j_per_inference=None if at is None else _energy(at),
    )


def _foreseen(search: Search, number: int) -> float | None:
    race = search.race
    return math.exp(race.foreseen[0][number]) if race.foresight.executions else None


def _at(search: Search, number: int) -> PointResult | None:
    """The point of a configuration nearest to its capacity, from below where there is one; of a goal at a
    rate the longest."""
    value = search.race.candidates[number].estimate.value
    if search.is_of_cost:
        made = [s for s in search.steps if s.candidate == number and s.point in search.points]
        longest = max(made, key=lambda step: step.seconds, default=None)
        return None if longest is None or longest.point is None else search.points[longest.point]
    rated = [
        (step.rate_per_s, search.points[step.point])
        for step in search.steps
        if step.candidate == number
        and step.told == "rated"
        and step.rate_per_s
        and step.point in search.points
    ]
    if value is None or not rated:
        return None
    below = [each for each in rated if each[0] <= value * 1.01] or rated
    return min(below, key=lambda each: abs(math.log(each[0] / value)))[1]


def _memory(point: PointResult) -> int | None:
    held = [m for gpu in point.gpu or () if (m := gpu.server_memory_bytes_max or gpu.memory_bytes_max)]
    if held:
        return sum(held)
    return None if point.host is None else point.host.server_memory_bytes


def _energy(point: PointResult) -> float | None:
    known = [j for gpu in point.gpu or () if (j := gpu.energy_j_per_inference) is not None]
    return sum(known) if known else None
