"""What the objective says of percentiles: met, missed, or not to be told."""

from __future__ import annotations

import numpy as np
import pytest

from harness.analysis import objective
from harness.analysis.quantile import quantiles
from harness.schema.result import ObjectiveCheck
from harness.schema.scenario import Objective


def checked(limits: Objective, latency_s: np.ndarray) -> ObjectiveCheck:
    """The one limit, held against these latencies; `inf` is a request that failed."""
    (check,) = objective.check(
        limits,
        within=quantiles(latency_s),
        largest_s=float(latency_s.max()),
        requests=latency_s.size,
        errors=int(np.isinf(latency_s).sum()),
        throughput=None,
        throughput_interval=None,
    )
    return check


def exponential(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).exponential(0.001, n)


def failing(latency_s: np.ndarray, share: float) -> np.ndarray:
    """The same, with that share of the requests failed, spread over the time."""
    failed = np.random.default_rng(2).random(latency_s.size) < share
    return np.where(failed, np.inf, latency_s)


@pytest.mark.parametrize(("limit_ms", "met"), [(20.0, True), (6.9, None), (2.0, False)])
def test_p999_is_met_missed_or_not_to_be_told(limit_ms: float, met: bool | None) -> None:
    check = checked(Objective(p999_ms=limit_ms), exponential(50_000))  # p99.9 is 6.9 ms
    assert (check.name, check.met) == ("p999_ms", met)
    assert check.observed == pytest.approx(6.9, rel=0.1)


def test_too_few_requests_can_miss_a_limit_by_at_least_what_they_were_and_never_meet_it() -> None:
    """1,000 requests support no p99.9, whose truth is 6.9 ms; what it is at least they do tell."""
    for limit_ms, met in ((1000.0, None), (1.0, False)):
        check = checked(Objective(p999_ms=limit_ms), exponential(1000))
        assert (check.observed, check.met) == (None, met)


def test_enough_requests_that_were_all_within_the_limit_meet_it_though_there_is_no_interval() -> None:
    slow_at_the_end = np.concatenate([exponential(3000), 0.05 + exponential(60)])
    check = checked(Objective(p99_ms=100.0), slow_at_the_end)
    assert quantiles(slow_at_the_end)["p99"].interval is None and check.met


@pytest.mark.parametrize(
    ("share", "met"), [(0.0, True), (0.001, True), (0.01, None), (0.045, False), (1.0, False)]
)
def test_a_failed_request_is_over_every_limit(share: float, met: bool | None) -> None:
    check = checked(Objective(p99_ms=500.0), failing(exponential(20_000), share))
    assert check.met is met
