"""When a point may stop, and that stopping by looking doesn't make the intervals lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.analysis import queueing
from harness.analysis.latency import interval_of_mean, summarize
from harness.analysis.precision import enough
from harness.schema.point import Point
from harness.schema.samples import Measured, Status
from tests.analysis.samples import point

SERVICE_S = 0.004


def asked(**precision: float) -> Point:
    measure: dict[str, Any] = {"duration_s": 1, "at_most_s": 60}
    if precision:
        measure["precision"] = precision
    return point(load={"rate_per_s": 125, "arrivals": "poisson"}, measure=measure)


def measured(due_s: np.ndarray, latency_s: np.ndarray) -> Measured:
    due_ns = np.asarray(due_s * 1e9, dtype=np.int64)
    nothing = np.zeros(due_ns.size, dtype=np.uint16)
    return Measured(
        request_class=nothing,
        status=nothing.astype(np.uint8),
        reason=nothing,
        intended_ns=due_ns,
        sent_ns=due_ns,
        completed_ns=due_ns + np.asarray(latency_s * 1e9, dtype=np.int64),
    )


def first(sample: Measured, n: int) -> Measured:
    return Measured(**{name: getattr(sample, name)[:n] for name in Measured.__slots__})


def independent(n: int, seed: int = 1) -> Measured:
    rng = np.random.default_rng(seed)
    return measured(np.cumsum(rng.exponential(0.008, n)), 0.002 + rng.exponential(0.002, n))


def queue(n: int, utilization: float, seed: int) -> Measured:
    """M/M/1 in its steady state."""
    rng = np.random.default_rng(seed)
    early = 3000
    due = np.cumsum(rng.exponential(SERVICE_S / utilization, n + early))
    finishes = queueing.finishes(due, rng.exponential(SERVICE_S, n + early))
    return measured(due[early:], (finishes - due)[early:])


@pytest.mark.parametrize("name", ["p50", "p90", "p95", "p99", "p999", "mean", "throughput"])
def test_each_figure_is_waited_for(name: str) -> None:
    sample = independent(60_000)
    assert enough(asked(**{name: 0.2}), sample)
    assert not enough(asked(**{name: 0.0005}), sample)


def test_every_one_of_several_is_waited_for() -> None:
    sample = independent(20_000)
    assert enough(asked(p50=0.1, p99=0.1, throughput=0.1), sample)
    for hard in ({"p50": 0.001}, {"p99": 0.001}, {"throughput": 0.001}):
        assert not enough(asked(**({"p50": 0.1, "p99": 0.1, "throughput": 0.1} | hard)), sample)


def test_without_a_precision_it_waits_for_a_p99() -> None:
    assert not enough(asked(), independent(300))
    assert enough(asked(), independent(1500))


def test_it_is_not_enough_where_nothing_succeeded() -> None:
    sample = independent(5000)
    sample.status[:] = Status.TIMEOUT
    for wanted in (asked(), asked(p50=0.5), asked(throughput=0.5)):
        assert not enough(wanted, sample)
        assert not enough(wanted, first(sample, 0))
        assert not enough(wanted, first(independent(1), 1))


def test_errors_have_no_part_in_it() -> None:
    sample = independent(20_000)
    sample.status[::2] = Status.TIMEOUT
    sample.completed_ns[::2] += np.random.default_rng(1).integers(0, 10**12, 10_000)
    assert enough(asked(p99=0.1, mean=0.1), sample)


def test_the_initial_transient_has_no_part_in_it() -> None:
    sample = independent(20_000)
    sample.completed_ns[:] += (10**9 * np.exp(-np.arange(20_000) / 100)).astype(np.int64)
    assert enough(asked(p99=0.1, mean=0.1), sample)
    changing = asked(p99=0.1, mean=0.1)
    ramp = {"from_per_s": 100, "to_per_s": 200}
    changing = changing.model_copy(update={"load": point(load={"ramp": ramp}).load})
    assert not enough(changing, sample)  # such a load has no steady state to come to


def test_a_percentile_of_few_bursts_is_not_enough_however_wide_an_interval_is_asked_for() -> None:
    """Slow requests in 10 long bursts, all of the same length: narrow intervals that rest on little."""
    due = np.arange(20_000) * 0.01
    slow = (np.arange(due.size) % 2000) < 40
    noise = np.random.default_rng(1).exponential(0.001, due.size)
    assert not enough(asked(p99=0.5), measured(due, 0.002 + noise + 0.05 * slow))
    single = np.arange(due.size) % 50 == 7
    assert enough(asked(p99=0.5), measured(due, 0.002 + noise + 0.05 * single))


LOOKS = 1.25


def stopped(wanted: Point, sample: Measured, n: int = 400) -> Measured | None:
    """What had been measured at the first look that found it enough."""
    while n <= sample.size:
        if enough(wanted, first(sample, n)):
            return first(sample, n)
        n = int(n * LOOKS)
    return None


def latencies(sample: Measured) -> np.ndarray:
    return (sample.completed_ns - sample.intended_ns) / 1e9


def test_p99_covers_the_truth_where_it_was_stopped_by_looking() -> None:
    truth = queueing.mm1_sojourn_s(0.5 / SERVICE_S, SERVICE_S, 0.99)
    ends = [stopped(asked(p99=0.1), queue(80_000, 0.5, seed)) for seed in range(150)]
    intervals = [summarize(latencies(end)).interval_95["p99"] for end in ends if end is not None]
    assert len(intervals) >= 145
    assert np.mean([low <= truth <= high for low, high in intervals]) >= 0.92


def test_the_mean_covers_the_truth_where_it_was_stopped_by_looking() -> None:
    truth = queueing.mm1_mean_sojourn_s(0.8 / SERVICE_S, SERVICE_S)
    ends = [stopped(asked(mean=0.3), queue(120_000, 0.8, seed)) for seed in range(150)]
    intervals = [interval_of_mean(latencies(end)) for end in ends if end is not None]
    assert len(intervals) >= 135
    assert np.mean([low <= truth <= high for low, high in intervals]) >= 0.92  # type: ignore[misc]
