"""Tonight's build beside nights that are over, where the build of the baseline can't be run again.

Figures of other nights say nothing of tonight's machine. So every night measures a reference, which stays the
same, in turns with its build, and what is compared from night to night is how much worse than the reference
the build was: what slows the machine down slows both. How much nights differ where nothing changed is seen
from the nights themselves, so that it takes some of them before anything can be said.

Two questions are asked of each metric. Whether tonight is off the first nights since the baseline was
accepted, by Student's t for one new observation; and whether the nights since then go up or down, by
Student's t for the slope of a line, because a change that comes a little every night is also in the nights
that tonight is compared with. Over all questions Holm's procedure decides, however they depend on each other
(Scandinavian Journal of Statistics 6, 1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from harness.schema.ab_result import Change, MetricVerdict, Moved, Outcome, PointVerdict
from harness.schema.night_result import BesideReference
from harness.schema.regression_section import Metric, Regression
from harness.verdict.anytime import LEAST_ROUNDS
from harness.verdict.judge import ALPHA, RoundsOfPoint, known_values, mean, verdict_of
from harness.verdict.metrics import PARTS, Compared, part_grew

FEWEST_NIGHTS = 5
"""Fewer say too little of how much nights differ."""

FIRST_NIGHTS = 10
"""Tonight is compared with the first so many since the baseline was accepted. Were it with all of them, a
change that comes a little every night would move what it is compared with."""

LEAST_SHARE = 0.5
"""A night with fewer of the usual rounds than this is another measurement, and isn't compared."""


@dataclass(frozen=True, slots=True)
class _Told:
    """An estimate with Student's t: `value` ± t `error`."""

    value: float
    error: float
    freedom: int

    @property
    def p_value(self) -> float:
        """Of there being no change."""
        return float(2 * stdtr(self.freedom, -abs(self.value) / self.error))

    def interval(self, alpha: float) -> tuple[float, float]:
        half = self.half_width(alpha)
        return self.value - half, self.value + half

    def half_width(self, alpha: float) -> float:
        return float(stdtrit(self.freedom, 1 - alpha / 2)) * self.error


@dataclass(frozen=True, slots=True)
class _Question:
    """Whether one metric of one point is another one than in the baseline's nights."""

    compared: Compared
    margin: float
    rounds: Sequence[float]
    before: Sequence[float]
    """Of each night since the acceptance, how much worse than the reference it was."""
    step: _Told | None
    """How much worse tonight is than the first of them."""
    drift: _Told | None
    """How much worse it became from the first of them until tonight, on a line through all."""
    unlike: str | None
    """Why tonight can't be compared."""

    @property
    def limit(self) -> float:
        return self.compared.limit(self.margin)


def beside_reference(points: Sequence[RoundsOfPoint]) -> tuple[BesideReference, ...]:
    """What a night leaves for those that follow: of its points with enough rounds, how much worse the build
    was than the reference, on average."""
    found = []
    for point in points:
        counted = point.counted
        if len(counted) < LEAST_ROUNDS:
            continue
        parts = {}
        for part in PARTS:
            grew = [part_grew(part, each.baseline, each.candidate) for each in counted]
            if (value := mean(grew)) is not None:
                parts[part] = value
        found.append(
            BesideReference(
                point=point.point,
                metrics={compared.name: math.fsum(v) / len(v) for compared, v in known_values(counted)},
                parts=parts,
                requests=sum(each.candidate.requests for each in counted),
                rounds=len(counted),
            )
        )
    return tuple(found)


def judge_by_nights(
    points: Sequence[RoundsOfPoint], nights: Sequence[Sequence[BesideReference]], terms: Regression
) -> tuple[PointVerdict, ...]:
    """The verdict of each point, whose rounds are those of the reference and of tonight's build, by the
    `nights` since the baseline was accepted, in their order. It holds for a whole night, not on the way."""
    tonight = {each.point: each for each in beside_reference(points)}
    before = [{each.point: each for each in night} for night in nights]
    questions = []
    for point in points:
        own = tonight.get(point.point)
        known = [night[point.point] for night in before if point.point in night]
        questions.append(_questions(point, own, known, terms))
    told = _discoveries(questions, terms.false_alarms)
    tests = sum(len(_tests(question)) for of_point in questions for question in of_point)
    alpha = terms.false_alarms / max(tests, 1)
    return tuple(
        verdict_of(
            point,
            [_metric(point, question, told.get(id(question), (False, False)), alpha) for question in asked],
            _moved(tonight.get(point.point), [n[point.point] for n in before if point.point in n]),
        )
        for point, asked in zip(points, questions, strict=True)
    )


def _questions(
    point: RoundsOfPoint, own: BesideReference | None, before: Sequence[BesideReference], terms: Regression
) -> list[_Question]:
    found = []
    for compared, rounds in known_values(point.counted):
        values = [night.metrics[compared.name] for night in before if compared.name in night.metrics]
        resolution = compared.resolution(min((night.requests for night in before), default=1))
        tonight = None if own is None else own.metrics.get(compared.name)
        unlike = _unlike(len(point.counted), own, before)
        step = drift = None
        if tonight is not None and unlike is None:
            step = _step(values[:FIRST_NIGHTS], tonight, resolution)
            drift = _drift([*values, tonight], resolution)
        margin = getattr(terms.margins, compared.name)
        found.append(_Question(compared, margin, rounds, values, step, drift, unlike))
    return found


def _unlike(rounds: int, own: BesideReference | None, before: Sequence[BesideReference]) -> str | None:
    if len(before) < FEWEST_NIGHTS:
        return f"{len(before)} nights don't say how much nights differ: {FEWEST_NIGHTS} are the fewest"
    usual = float(np.median([night.rounds for night in before]))
    if own is None or rounds < LEAST_SHARE * usual:
        return f"{rounds} rounds count, where a night of the baseline has {usual:.0f}"
    return None


def _step(values: Sequence[float], tonight: float, resolution: float) -> _Told:
    """One new observation beside `values`."""
    n = len(values)
    spread = max(float(np.std(values, ddof=1)), resolution)
    return _Told(tonight - math.fsum(values) / n, spread * math.sqrt(1 + 1 / n), n - 1)


def _drift(values: Sequence[float], resolution: float) -> _Told:
    """From the first of `values` to the last, on the line of least squares."""
    n = len(values)
    nights = np.arange(n) - (n - 1) / 2
    slope = float(nights @ np.asarray(values)) / float(nights @ nights)
    left = np.asarray(values) - np.mean(values) - slope * nights
    spread = max(math.sqrt(float(left @ left) / (n - 2)), resolution)
    return _Told(slope * (n - 1), spread / math.sqrt(float(nights @ nights)) * (n - 1), n - 2)


def _tests(question: _Question) -> list[_Told]:
    return [each for each in (question.step, question.drift) if each is not None]


def _discoveries(questions: Sequence[Sequence[_Question]], rate: float) -> Mapping[int, tuple[bool, bool]]:
    """Of each question by its identity, whether its step and its drift are told from none, so that the
    probability of any that isn't one is at most `rate`."""
    asked = [
        (test.p_value, id(question), number)
        for of_point in questions
        for question in of_point
        for number, test in enumerate((question.step, question.drift))
        if test is not None
    ]
    found: dict[int, tuple[bool, bool]] = {}
    for rank, (p_value, which, number) in enumerate(sorted(asked)):
        if p_value > rate / (len(asked) - rank):
            break
        step, drift = found.get(which, (False, False))
        found[which] = (step or number == 0, drift or number == 1)
    return found


def _metric(
    point: RoundsOfPoint, question: _Question, told: tuple[bool, bool], alpha: float
) -> MetricVerdict:
    compared, step, drift = question.compared, question.step, question.drift
    candidate = mean([compared.of(each.candidate) for each in point.counted])
    first = question.before[:FIRST_NIGHTS]
    usual = math.fsum(first) / len(first) if first else None
    change = baseline = smallest = None
    if step is not None:
        ends = sorted(compared.change(end) for end in step.interval(ALPHA))
        change = Change(value=compared.change(step.value), interval_95=(ends[0], ends[1]))
        smallest = abs(compared.change(step.half_width(alpha)))
        if candidate is not None:
            was = candidate - change.value if not compared.by_ratio else candidate / (1 + change.value)
            baseline = max(was, 0.0)
    outcome, why = _decided(question, told)
    return MetricVerdict(
        metric=compared.name,
        outcome=outcome,
        why=why,
        baseline=baseline,
        candidate=candidate,
        change=change,
        rounds=() if usual is None else tuple(compared.change(value - usual) for value in question.rounds),
        margin=question.margin,
        smallest=smallest,
        p_value=None if step is None or drift is None else min(step.p_value, drift.p_value),
    )


def _decided(question: _Question, told: tuple[bool, bool]) -> tuple[Outcome, str]:
    """The outcome, and why."""
    step, drift, limit = question.step, question.drift, question.limit
    if step is None or drift is None:
        return "inconclusive", question.unlike or "it wasn't measured"
    nights = len(question.before)
    for test, is_told, words in (
        (step, told[0], f"the change is told from none by {min(nights, FIRST_NIGHTS)} nights"),
        (drift, told[1], f"it came little by little over {nights + 1} nights"),
    ):
        if is_told and abs(test.value) >= limit:
            outcome: Outcome = "regressed" if test.value > 0 else "improved"
            return outcome, f"{words}, and is as large as the margin"
    if step.interval(ALPHA)[1] < limit:
        if told[1]:
            gone = abs(question.compared.change(drift.value))
            return "pass", f"it moved by {gone:.1%} in {nights + 1} nights, which is less than the margin"
        return "pass", "a change for the worse by the margin is ruled out"
    if any(told):
        return "inconclusive", "there is a change, and whether it is as large as the margin isn't known"
    return "inconclusive", f"neither no change nor one by the margin is ruled out by {nights} nights"


def _moved(own: BesideReference | None, before: Sequence[BesideReference]) -> list[Moved]:
    """The parts that a request spends its time in, by how much they moved, over the whole time that one took
    in the nights of the baseline."""
    first = before[:FIRST_NIGHTS]
    if own is None or len(first) < FEWEST_NIGHTS:
        return []
    name: Metric = "p50"
    usual = math.exp(mean([night.metrics.get(name) for night in first]) or 0.0)
    found = []
    for part in PARTS:
        values = [night.parts[part] / usual for night in first if part in night.parts]
        if part in own.parts and len(values) >= FEWEST_NIGHTS:
            step = _step(values, own.parts[part] / usual, 1e-4)
            change = Change(value=step.value, interval_95=step.interval(ALPHA))
            found.append(Moved(part=part, change=change, told=step.p_value <= ALPHA / len(PARTS)))
    return sorted(found, key=lambda each: -abs(each.change.value))
