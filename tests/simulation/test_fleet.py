"""The simulated fleet, against queueing theory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from harness.simulation.batcher import Batcher, Station
from harness.simulation.fleet import Balancer, serve
from tests.simulation.test_batcher import erlang_c, poisson

MEAN_S, REQUESTS = 0.01, 300_000


def exponential() -> Callable[[int, int], float]:
    draws = iter(np.random.default_rng(2).exponential(MEAN_S, REQUESTS).tolist())
    return lambda *_: next(draws)


def mean_s(balancer: Balancer, stations: int, utilization: float) -> float:
    """Mean time of a request, seconds."""
    due = poisson(stations * utilization / MEAN_S, n=REQUESTS)
    service = exponential()
    fleet = [Station(Batcher(), service) for _ in range(stations)]
    took = serve(due, fleet, balancer) - due
    assert sum(station.finished for station in fleet) == REQUESTS and (took > 0).all()
    return float(took[REQUESTS // 10 :].mean())


def test_a_poisson_stream_that_is_split_at_random_makes_m_m_1_of_each() -> None:
    assert mean_s("random", 10, 0.7) == pytest.approx(MEAN_S / 0.3, rel=0.05)


def test_in_turns_each_has_erlang_arrivals() -> None:
    """G/M/1: waiting is geometric with the root of σ = A*(μ - μσ), A* that of an Erlang distribution of as
    many stages as there are stations (Kleinrock, Queueing Systems I, 6.4)."""
    stations, utilization = 5, 0.7
    sigma = 0.5
    for _ in range(200):
        sigma = (stations * utilization / (stations * utilization + 1 - sigma)) ** stations
    assert mean_s("round_robin", stations, utilization) == pytest.approx(MEAN_S / (1 - sigma), rel=0.05)


def test_two_choices_are_as_good_as_mitzenmacher_says() -> None:
    utilization = 0.9
    theory = MEAN_S * sum(utilization ** (2**i - 2) for i in range(1, 12))
    assert mean_s("power_of_two", 300, utilization) == pytest.approx(theory, rel=0.05)


def test_the_shortest_queue_is_worse_than_one_queue_for_all_and_better_than_two_choices() -> None:
    stations, utilization = 10, 0.9
    one_queue = MEAN_S * (1 + erlang_c(stations, stations * utilization) / stations / (1 - utilization))
    found = mean_s("least_loaded", stations, utilization)
    assert one_queue < found < 0.9 * mean_s("power_of_two", stations, utilization)


@pytest.mark.parametrize("balancer", ["random", "round_robin", "power_of_two", "least_loaded"])
def test_a_single_replica_is_the_same_behind_every_balancer(balancer: Balancer) -> None:
    due = poisson(60.0, n=5000)
    alone = Station(Batcher(max_batch=4), lambda _, n: 0.01 + 0.005 * n)
    alone.take(due)
    alone.advance(np.inf)
    fleet: Sequence[Station] = [Station(Batcher(max_batch=4), lambda _, n: 0.01 + 0.005 * n)]
    assert serve(due, fleet, balancer).tolist() == pytest.approx(alone.done)


@pytest.mark.parametrize("balancer", ["random", "round_robin", "power_of_two", "least_loaded"])
def test_kinds_stay_with_their_requests(balancer: Balancer) -> None:
    due = poisson(100.0, n=4000)
    kinds = np.random.default_rng(3).integers(2, size=4000)
    fleet = [Station(Batcher(sizes=(1, 1)), lambda kind, _: (0.001, 0.02)[kind]) for _ in range(4)]
    took = serve(due, fleet, balancer, kinds=kinds) - due
    assert took[kinds == 0].min() == pytest.approx(0.001) and took[kinds == 1].min() == pytest.approx(0.02)
