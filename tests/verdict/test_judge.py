"""The verdict over made-up rounds whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from harness.schema.ab_result import PointVerdict
from harness.schema.expansion import expand
from harness.schema.load import PointLoad
from harness.schema.regression_section import Margins, Regression
from harness.schema.result import PointResult
from harness.verdict.judge import Round, RoundsOfPoint, is_settled, judge, worst
from tests.report.factory import ONE_POINT, point_result

(POINT,) = expand(ONE_POINT)
CLOSED = POINT.model_copy(update={"load": PointLoad(concurrency=1)})
BASE = point_result(CLOSED, verdict="valid", gpu=False).model_copy(update={"errors": 0, "requests": 400})
TERMS = Regression()


def made(
    rng: np.random.Generator, slower: float = 0.0, tail: float = 0.0, noise: float = 0.008, errors: int = 0
) -> Round:
    """A round whose candidate is slower by a share, in compute, and its p99 by another besides."""

    def arm(slower: float, tail: float, errors: int) -> PointResult:
        moment = rng.normal(0, noise)
        factor, far = math.exp(slower + moment), math.exp(tail + rng.normal(0, 0.08))
        assert BASE.latency_s.p50 and BASE.latency_s.p99 and BASE.latency_s.mean and BASE.time_s
        assert BASE.throughput_requests_per_s and BASE.time_s.compute_s
        grown = BASE.latency_s.mean * (factor - 1)
        latency = {"p50": BASE.latency_s.p50 * factor, "p99": BASE.latency_s.p99 * factor * far}
        return BASE.model_copy(
            update={
                "latency_s": BASE.latency_s.model_copy(update=latency),
                "throughput_requests_per_s": BASE.throughput_requests_per_s / factor,
                "time_s": BASE.time_s.model_copy(update={"compute_s": BASE.time_s.compute_s + grown}),
                "errors": errors,
            }
        )

    return Round(arm(0, 0, 0), arm(slower, tail, errors), took_s=15.0)


def night(
    rng: np.random.Generator, *, points: int = 3, rounds: int = 20, **of: float
) -> Sequence[PointVerdict]:
    """Rounds are added until all is settled; the last point alone has what is `of`."""
    compared = [RoundsOfPoint(f"point {n}", {}) for n in range(points)]
    for _ in range(rounds):
        verdicts = judge(compared, TERMS)
        open_ = [n for n, verdict in enumerate(verdicts) if not is_settled(verdict)]
        if not open_:
            break
        for n in open_:
            compared[n].rounds.append(made(rng, **(of if n == points - 1 else {})))  # type: ignore[arg-type]
    return judge(compared, TERMS)


def test_nights_without_a_change_pass_and_hardly_ever_alarm() -> None:
    rng = np.random.default_rng(1)
    outcomes = [worst([each.outcome for each in night(rng)]) for _ in range(150)]
    assert outcomes.count("regressed") + outcomes.count("improved") <= 1
    assert outcomes.count("pass") > 120


def test_a_slowdown_is_found_and_its_part_is_named() -> None:
    rng = np.random.default_rng(2)
    nights = [night(rng, slower=0.05) for _ in range(60)]
    assert sum(each[-1].outcome == "regressed" for each in nights) >= 59
    others = [each.outcome for *others, _ in nights for each in others]
    assert others.count("pass") / len(others) > 0.8 and "regressed" not in others
    held = 0
    for *_, last in nights:
        p50 = next(each for each in last.metrics if each.metric == "p50")
        assert p50.change is not None and p50.change.interval_95 is not None
        held += p50.change.interval_95[0] < math.expm1(0.05) < p50.change.interval_95[1]
        assert last.moved[0].part == "compute" and last.moved[0].told
    assert held >= 54
    within = [each[-1].rounds for each in nights]
    assert np.median(within) <= 10


def test_an_improvement_is_none_of_the_alarms() -> None:
    found = night(np.random.default_rng(3), slower=-0.1)
    assert found[-1].outcome == "improved"
    assert worst([each.outcome for each in found]) in ("improved", "inconclusive")


def test_a_tail_alone_is_found_though_the_median_passes() -> None:
    found = night(np.random.default_rng(4), tail=0.25, rounds=60)
    metrics = {each.metric: each.outcome for each in found[-1].metrics}
    assert (metrics["p50"], metrics["p99"]) == ("pass", "regressed")


def test_a_change_below_the_margin_passes_and_is_said() -> None:
    rng = np.random.default_rng(5)
    compared = RoundsOfPoint("one", {}, [made(rng, slower=0.01, noise=0.001) for _ in range(12)])
    (found,) = judge([compared], TERMS)
    p50 = next(each for each in found.metrics if each.metric == "p50")
    assert p50.outcome == "pass" and "smaller than the margin" in p50.why


def test_what_cannot_be_told_says_what_would_settle_it() -> None:
    rng = np.random.default_rng(6)
    compared = RoundsOfPoint("one", {}, [made(rng, noise=0.05) for _ in range(5)])
    (found,) = judge([compared], TERMS)
    p50 = next(each for each in found.metrics if each.metric == "p50")
    assert p50.outcome == "inconclusive" and p50.more_s is not None and p50.more_s > 60
    assert p50.smallest is not None and p50.smallest > p50.margin


@pytest.mark.parametrize(("errors", "outcome"), [(0, "pass"), (40, "regressed")])
def test_errors_are_compared_by_their_share(errors: int, outcome: str) -> None:
    rng = np.random.default_rng(7)
    compared = RoundsOfPoint(
        "one", {}, [made(rng, errors=errors + int(rng.integers(0, 5)) * bool(errors)) for _ in range(10)]
    )
    (found,) = judge([compared], TERMS)
    rate = next(each for each in found.metrics if each.metric == "error_rate")
    assert rate.outcome == outcome
    # Ten rounds of 400 requests without an error leave room for one of a thousand.
    (strict,) = judge([compared], Regression(margins=Margins(error_rate=0.0001)))
    assert next(each for each in strict.metrics if each.metric == "error_rate").outcome != "pass"


def test_rounds_that_are_invalid_are_left_out_with_their_reason() -> None:
    rng = np.random.default_rng(8)
    sound = [made(rng) for _ in range(6)]
    bad = Round(BASE, BASE.model_copy(update={"verdict": "invalid", "reasons": ("a foreign process",)}), 15.0)
    (found,) = judge([RoundsOfPoint("one", {}, [*sound, bad, bad])], TERMS)
    (alone,) = judge([RoundsOfPoint("one", {}, sound)], TERMS)
    assert found.left_out == {"candidate: a foreign process": 2} and found.rounds == 6
    assert found.metrics == alone.metrics
    (nothing,) = judge([RoundsOfPoint("one", {}, [bad])], TERMS)
    assert nothing.outcome == "inconclusive" and not nothing.metrics


def test_an_open_loop_has_no_throughput_of_its_own() -> None:
    opened = BASE.model_copy(update={"point": POINT.model_copy(update={"load": PointLoad(rate_per_s=50)})})
    (found,) = judge([RoundsOfPoint("one", {}, [Round(opened, opened, 1.0)] * 4)], TERMS)
    assert "throughput" not in {each.metric for each in found.metrics}
