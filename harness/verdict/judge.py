"""From rounds that were measured in turns to a verdict: regressed, improved, pass, or inconclusive.

An alarm needs both: that chance alone hardly gives such rounds, and that the change is as large as the
margin. A pass needs that a change by the margin is ruled out. All else is inconclusive, and says what would
settle it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from harness.schema.ab_result import Change, MetricVerdict, Moved, Outcome, PointVerdict
from harness.schema.point import Setting
from harness.schema.regression_section import Regression
from harness.schema.result import PointResult
from harness.verdict.anytime import LEAST_ROUNDS, Rounds, discoveries
from harness.verdict.metrics import METRICS, PARTS, Compared, part_grew

ALPHA = 0.05
"""Intervals hold with a probability of 1 less this."""


@dataclass(frozen=True, slots=True)
class Round:
    """A point of both arms, in turns, on servers that had just been started."""

    baseline: PointResult
    candidate: PointResult
    took_s: float = 0.0

    @property
    def fault(self) -> str | None:
        """Why it doesn't count; None where it does."""
        for name, point in (("baseline", self.baseline), ("candidate", self.candidate)):
            if point.verdict == "invalid":
                return f"{name}: {point.reasons[0]}"
        return None


@dataclass(slots=True)
class RoundsOfPoint:
    """Rounds of one point."""

    point: str
    params: dict[str, Setting]
    rounds: list[Round] = field(default_factory=list)

    @property
    def measured_s(self) -> float:
        """How long it took, of both arms."""
        return sum(each.took_s for each in self.rounds)

    @property
    def longest_s(self) -> float:
        """Of its rounds; 0 before there is one."""
        return max((each.took_s for each in self.rounds), default=0.0)

    @property
    def counted(self) -> list[Round]:
        return [each for each in self.rounds if each.fault is None]


@dataclass(frozen=True, slots=True)
class _Question:
    """Whether one metric of one point changed."""

    compared: Compared
    margin: float
    counted: Sequence[Round]
    values: Sequence[float]
    """How much worse the candidate was in each."""
    found: Rounds

    @property
    def limit(self) -> float:
        return self.compared.limit(self.margin)


def judge(points: Sequence[RoundsOfPoint], terms: Regression) -> tuple[PointVerdict, ...]:
    """The verdict of each point by what was measured so far. Right however often it is asked."""
    questions = [_questions(point.counted, terms) for point in points]
    every = [question for of_point in questions for question in of_point]
    alarms = iter(discoveries([question.found.e_value() for question in every], terms.false_alarms))
    alpha = terms.false_alarms / max(len(every), 1)
    return tuple(
        verdict_of(
            point,
            [_metric(question, next(alarms), alpha) for question in of_point],
            _moved(point.counted),
        )
        for point, of_point in zip(points, questions, strict=True)
    )


def is_settled(verdict: PointVerdict) -> bool:
    """Whether more rounds of the point would change nothing: one metric that regressed is enough."""
    outcomes = [each.outcome for each in verdict.metrics]
    return "regressed" in outcomes or (bool(outcomes) and "inconclusive" not in outcomes)


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """Of several: one that regressed, else one that can't be told."""
    order: tuple[Outcome, ...] = ("regressed", "inconclusive", "improved", "pass")
    return min(outcomes, key=order.index, default="inconclusive")


def known_values(counted: Sequence[Round]) -> Iterator[tuple[Compared, list[float]]]:
    """Of each metric that the point has, how much worse the candidate was, round by round."""
    for compared in METRICS:
        values = [compared.worse_by(each.baseline, each.candidate) for each in counted]
        known = [value for value in values if value is not None]
        if known:
            yield compared, known


def _questions(counted: Sequence[Round], terms: Regression) -> list[_Question]:
    """Of the metrics that the point has."""
    found = []
    for compared, values in known_values(counted):
        requests = sum(each.candidate.requests for each in counted) // len(counted)
        rounds = Rounds.of(values, resolution=compared.resolution(requests))
        found.append(_Question(compared, getattr(terms.margins, compared.name), counted, values, rounds))
    return found


def _metric(question: _Question, told: bool, alpha: float) -> MetricVerdict:
    compared, rounds = question.compared, question.found
    outcome = _outcome(question, told)
    smallest = rounds.smallest(alpha)
    return MetricVerdict(
        metric=compared.name,
        outcome=outcome,
        why=_why(question, outcome, told),
        baseline=mean([compared.of(each.baseline) for each in question.counted]),
        candidate=mean([compared.of(each.candidate) for each in question.counted]),
        change=_change(question),
        rounds=tuple(compared.change(value) for value in question.values),
        margin=question.margin,
        smallest=abs(compared.change(smallest)) if math.isfinite(smallest) else None,
        e_value=rounds.e_value(),
        more_s=_more_s(question) if outcome == "inconclusive" else None,
    )


def _outcome(question: _Question, told: bool) -> Outcome:
    rounds, limit = question.found, question.limit
    if told and rounds.mean >= limit:
        return "regressed"
    if told and rounds.mean <= -limit:
        return "improved"
    return "pass" if rounds.interval(ALPHA)[1] < limit else "inconclusive"


def _why(question: _Question, outcome: Outcome, told: bool) -> str:
    rounds = question.found
    if rounds.count < LEAST_ROUNDS:
        return f"{rounds.count} rounds don't say how much rounds differ: {LEAST_ROUNDS} are the fewest"
    match outcome:
        case "regressed" | "improved":
            return f"the change is told from none by {rounds.count} rounds, and is as large as the margin"
        case "pass" if told:
            return "there is a change, and it is smaller than the margin"
        case "pass":
            return "a change for the worse by the margin is ruled out"
    if told:
        return "there is a change, and whether it is as large as the margin isn't known yet"
    return "neither no change nor one by the margin is ruled out"


def _change(question: _Question) -> Change | None:
    rounds, of = question.found, question.compared.change
    if not rounds.count:
        return None
    low, high = rounds.interval(ALPHA)
    known = math.isfinite(low) and max(abs(low), abs(high)) < 50
    ends = sorted((of(low), of(high))) if known else None
    return Change(value=of(rounds.mean), interval_95=None if ends is None else (ends[0], ends[1]))


def _more_s(question: _Question) -> float | None:
    """Until the interval ends before the margin, or doesn't hold 0."""
    rounds = question.found
    distance = question.limit - rounds.mean if rounds.mean < question.limit else rounds.mean
    needed = rounds.needed(distance, ALPHA)
    if needed is None or not question.counted:
        return None
    each_s = sum(each.took_s for each in question.counted) / len(question.counted)
    return max(1, needed - rounds.count) * each_s


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def verdict_of(
    point: RoundsOfPoint, metrics: Sequence[MetricVerdict], moved: Sequence[Moved]
) -> PointVerdict:
    """A point's, from those of its metrics."""
    return PointVerdict(
        point=point.point,
        params=point.params,
        outcome=worst([each.outcome for each in metrics]),
        metrics=tuple(metrics),
        moved=tuple(moved),
        rounds=len(point.counted),
        left_out=_left_out(point.rounds),
        measured_s=point.measured_s,
    )


def _left_out(rounds: Sequence[Round]) -> dict[str, int]:
    """How many for each reason, in the words of the first; numbers in it may be others in the rest."""
    words: dict[str, str] = {}
    many = Counter[str]()
    for fault in (each.fault for each in rounds):
        if fault is not None:
            many[words.setdefault(re.sub(r"[0-9][0-9.,]*", "#", fault), fault)] += 1
    return dict(many)


def _moved(counted: Sequence[Round]) -> list[Moved]:
    """The parts that a request spends its time in, by how much they moved."""
    rounds = {}
    for part in PARTS:
        grew = [part_grew(part, each.baseline, each.candidate) for each in counted]
        known = [value for value in grew if value is not None]
        if len(known) >= LEAST_ROUNDS:
            rounds[part] = Rounds.of(known, resolution=1e-4)
    told = discoveries([each.e_value() for each in rounds.values()], ALPHA)
    found = [
        Moved(part=part, change=_of_part(each), told=is_told)
        for (part, each), is_told in zip(rounds.items(), told, strict=True)
    ]
    return sorted(found, key=lambda each: -abs(each.change.value))


def _of_part(rounds: Rounds) -> Change:
    low, high = rounds.interval(ALPHA)
    return Change(value=rounds.mean, interval_95=(low, high) if math.isfinite(low) else None)
