"""The verdict by nights that are over, whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from harness.schema.ab_result import MetricVerdict, Outcome, PointVerdict
from harness.schema.night_result import BesideReference
from harness.schema.regression_section import Margins, Regression
from harness.verdict.judge import RoundsOfPoint
from harness.verdict.nights import FEWEST_NIGHTS, beside_reference, judge_by_nights
from tests.verdict.test_judge import made

TERMS = Regression()
NIGHT = 0.006
"""How much nights of one build differ in their p50, as a share; in their p99 ten times as much."""


def tonight(rng: np.random.Generator, slower: float, *, rounds: int = 4) -> RoundsOfPoint:
    """A night of a build that is a third slower than the reference, and slower by a share besides."""
    off, far = rng.normal(0, NIGHT), rng.normal(0, 10 * NIGHT)
    of_each = {"slower": math.log(4 / 3) + slower + off, "noise": 0.001}
    return RoundsOfPoint("one", {}, [made(rng, tail=far, **of_each) for _ in range(rounds)])  # type: ignore[arg-type]


def before(rng: np.random.Generator, slower: Sequence[float]) -> list[tuple[BesideReference, ...]]:
    """A night for each share."""
    return [beside_reference([tonight(rng, each)]) for each in slower]


def judged(
    rng: np.random.Generator, nights: Sequence[float], slower: float, terms: Regression = TERMS
) -> PointVerdict:
    (found,) = judge_by_nights([tonight(rng, slower)], before(rng, nights), terms)
    return found


def metric(found: PointVerdict, name: str) -> MetricVerdict:
    return next(each for each in found.metrics if each.metric == name)


def outcomes(found: PointVerdict) -> set[Outcome]:
    return {each.outcome for each in found.metrics}


@pytest.mark.parametrize("nights", [5, 12])
def test_nights_without_a_change_hardly_ever_alarm(nights: int) -> None:
    """Also where the margin is so small that chance alone decides."""
    rng = np.random.default_rng(nights)
    least = Margins(throughput=1e-6, p50=1e-6, p99=1e-6, error_rate=1e-6)
    found = [judged(rng, [0.0] * nights, 0.0, Regression(margins=least)) for _ in range(400)]
    alarms = sum(bool(outcomes(each) & {"regressed", "improved"}) for each in found)
    assert alarms <= 8, "of 400 nights, 1% are 4, and 9 are more once in fifty"
    p50 = [metric(each, "p50") for each in found]
    held = [each.change.interval_95[0] < 0 < each.change.interval_95[1] for each in p50]  # type: ignore[union-attr, index]
    assert 0.92 < np.mean(held) < 0.98


def test_nights_without_a_change_pass() -> None:
    rng = np.random.default_rng(9)
    found = [judged(rng, [0.0] * 12, 0.0) for _ in range(100)]
    assert sum(metric(each, "p50").outcome == "pass" for each in found) > 90


def test_a_slower_build_is_found_and_its_part_is_named() -> None:
    rng = np.random.default_rng(2)
    found = [judged(rng, [0.0] * 12, 0.05) for _ in range(100)]
    assert sum("regressed" in outcomes(each) for each in found) >= 95
    assert sum(each.moved[0].part == "compute" and each.moved[0].told for each in found) >= 95
    change = metric(found[0], "p50").change
    assert change is not None and change.value == pytest.approx(math.expm1(0.05), abs=5 * NIGHT)
    one = metric(found[0], "p50")
    assert one.baseline is not None and one.candidate is not None
    assert one.candidate / one.baseline == pytest.approx(1 + change.value), "the baseline's, on this machine"


def test_a_machine_that_is_another_every_night_is_in_no_verdict() -> None:
    """The reference has it too: all that is kept are ratios to it."""
    rng = np.random.default_rng(3)
    point = tonight(rng, 0.0)
    slowed = RoundsOfPoint("one", {}, [])
    for each in point.rounds:
        arms = [
            arm.model_copy(
                update={
                    "latency_s": arm.latency_s.model_copy(
                        update={n: 2 * getattr(arm.latency_s, n) for n in ("p50", "p99", "mean")}
                    ),
                    "throughput_requests_per_s": (arm.throughput_requests_per_s or 0) / 2,
                }
            )
            for arm in (each.baseline, each.candidate)
        ]
        slowed.rounds.append(type(each)(arms[0], arms[1], each.took_s))
    (one,), (other,) = beside_reference([point]), beside_reference([slowed])
    assert one.metrics == pytest.approx(other.metrics)


def test_a_drift_is_found_though_each_night_is_like_the_one_before() -> None:
    rng = np.random.default_rng(4)
    found_after = []
    for _ in range(60):
        past: list[tuple[BesideReference, ...]] = []
        for night in range(30):
            own = tonight(rng, 0.005 * night)
            (found,) = judge_by_nights([own], past, TERMS)
            if "regressed" in outcomes(found):
                break
            past.append(beside_reference([own])[0:1])
        found_after.append(night)
    assert max(found_after) <= 20
    assert "came little by little over" in " ".join(each.why for each in found.metrics)


def test_what_becomes_better_is_no_regression() -> None:
    assert "regressed" not in outcomes(judged(np.random.default_rng(5), [0.0] * 12, -0.1))
    assert "improved" in outcomes(judged(np.random.default_rng(5), [0.0] * 12, -0.1))


def test_few_nights_say_nothing_and_say_so() -> None:
    rng = np.random.default_rng(6)
    found = judged(rng, [0.0] * (FEWEST_NIGHTS - 1), 0.5)
    assert outcomes(found) == {"inconclusive"}
    assert found.metrics[0].why.startswith("4 nights don't say how much nights differ: 5 are")
    assert all(each.change is None for each in found.metrics)


def test_a_night_of_few_rounds_is_not_compared() -> None:
    rng = np.random.default_rng(7)
    past = [beside_reference([tonight(rng, 0.0, rounds=12)]) for _ in range(8)]
    (found,) = judge_by_nights([tonight(rng, 0.5, rounds=5)], past, TERMS)
    assert outcomes(found) == {"inconclusive"}
    assert found.metrics[0].why == "5 rounds count, where a night of the baseline has 12"
    (found,) = judge_by_nights([tonight(rng, 0.5, rounds=6)], past, TERMS)
    assert "regressed" in outcomes(found)
    assert beside_reference([tonight(rng, 0.0, rounds=2)]) == ()


def test_a_point_that_other_nights_did_not_have_is_inconclusive() -> None:
    rng = np.random.default_rng(8)
    other = tonight(rng, 0.0)
    other.point = "another"
    (found,) = judge_by_nights([other], before(rng, [0.0] * 8), TERMS)
    assert outcomes(found) == {"inconclusive"} and not found.moved
