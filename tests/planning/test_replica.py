"""Replicas at a rate, against queueing theory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.planning.demand import Demand
from harness.planning.replica import Replica, capacity, held, simulated
from harness.planning.service_times import KindTimes, ServiceTimes
from harness.simulation.batcher import Batcher

MEAN_S = 0.01
EXPONENTIAL = np.random.default_rng(1).exponential(size=20_000)
EXPONENTIAL /= EXPONENTIAL.mean()
ONE = Demand((1.0,), (1,))


def times(noise: np.ndarray, each_s: float = 0.0, overhead_s: float = 0.0) -> ServiceTimes:
    """Of batches that take `MEAN_S`, and `each_s` more for each inference past the first."""
    kind = KindTimes(np.array([1.0, 8.0]), np.array([MEAN_S, MEAN_S + 7 * each_s]), noise)
    return ServiceTimes((kind,), overhead_s, math.inf, 0.0)


def replica(noise: np.ndarray = EXPONENTIAL, batcher: Batcher | None = None) -> Replica:
    return Replica(batcher or Batcher(), times(noise), ONE)


def test_latency_of_m_m_1_is_exponential() -> None:
    found = simulated(replica(), 60.0, requests=150_000)
    for share in (0.5, 0.9, 0.99):
        theory = -math.log(1 - share) / (1 / MEAN_S - 60.0)
        assert found.quantile(share) == pytest.approx(theory, rel=0.06), share
    assert found.busy == pytest.approx(0.6, rel=0.02)
    assert found.largest_batch == 1


def test_the_capacity_of_m_m_1_under_a_p99_is_the_theory_s() -> None:
    limit = 0.1
    theory = 1 / MEAN_S - math.log(100) / limit
    found = capacity(replica(), {0.99: limit}, requests=60_000)
    assert found == pytest.approx(theory, rel=0.06)
    for near in (theory, 0.5 * theory, 3 * theory):
        again = capacity(replica(), {0.99: limit}, requests=10_000, near=near)
        assert again == pytest.approx(found, rel=0.1), near
    assert capacity(replica(), {0.99: 2 * MEAN_S}) is None, "an exponential time alone is longer than that"
    assert not held(replica(), {0.99: limit}, 1.05 / MEAN_S), "faster than it is served"


def test_what_is_served_at_most_is_the_largest_batch_in_its_time() -> None:
    batched = replica(np.ones(100), Batcher(max_batch=8, instances=3))
    assert batched.most_per_s == pytest.approx(3 * 8 / MEAN_S, rel=0.01)


def test_of_two_kinds_in_turns_no_batch_has_more_than_a_run() -> None:
    """Of two kinds that are as likely, a run of one has two requests on average."""
    kind = KindTimes(np.array([1.0, 64.0]), np.array([MEAN_S, MEAN_S]), np.ones(10))
    mixed = Replica(
        Batcher(max_batch=64), ServiceTimes((kind, kind), 0.0, math.inf, 0.0), Demand((1, 1), (1, 1))
    )
    assert mixed.most_per_s == pytest.approx(2 / MEAN_S, rel=0.05)


def test_the_way_there_and_back_is_in_every_latency() -> None:
    far = Replica(Batcher(), times(np.ones(10), overhead_s=0.5), ONE)
    assert simulated(far, 1.0).quantile(0.01) == pytest.approx(MEAN_S + 0.5)


def test_more_replicas_than_are_simulated_are_as_so_many() -> None:
    few, many = simulated(replica(), 64 * 70.0, replicas=64), simulated(replica(), 640 * 70.0, replicas=640)
    assert few.quantile(0.9) == pytest.approx(many.quantile(0.9), rel=0.02)


def test_times_that_are_scaled_and_a_rate_that_is_too_are_the_same_queue() -> None:
    usual, slow = simulated(replica(), 60.0), simulated(replica().scaled(2.0), 30.0)
    assert slow.quantile(0.9) == pytest.approx(2 * usual.quantile(0.9), rel=1e-6)


def test_recorded_arrivals_keep_their_pattern_at_any_rate() -> None:
    bursts = np.sort(np.concatenate([np.arange(10) + offset for offset in (0.0, 1e-6, 2e-6)]))
    recorded = Demand((1.0,), (1,), recorded_s=bursts, recorded_over_s=10.0)
    due = recorded.arrivals(60.0, 3000, 1)
    assert len(due) / (due[-1] + 1 / 60) == pytest.approx(60.0, rel=0.05)
    gaps = np.diff(due)
    assert np.median(gaps[gaps > 1e-4]) == pytest.approx(3 / 60, rel=0.05), "three at a time"
    waiting = simulated(Replica(Batcher(), times(np.ones(10)), recorded), 60.0)
    assert waiting.quantile(0.99) == pytest.approx(3 * MEAN_S, rel=0.01)


@pytest.mark.parametrize("cv", [0.0, 1.0, 2.0])
def test_arrivals_are_spaced_as_they_shall_be(cv: float) -> None:
    gaps = np.diff(Demand((1.0,), (1,), cv).arrivals(50.0, 40_000, 3))
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, abs=0.06)


def test_kinds_come_by_their_weights() -> None:
    demand = Demand((8.0, 2.0), (1, 4))
    assert demand.inferences == 1.6
    assert float((demand.kinds(50_000, 1) == 1).mean()) == pytest.approx(0.2, abs=0.01)
