"""The simulated batcher: against queueing theory where there is one, against Triton's rules where not."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.simulation.batcher import Batcher, completions

REQUESTS = 200_000


def poisson(rate: float, seed: int = 1, n: int = REQUESTS) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, n))


def exponential(mean: float, seed: int = 2) -> Callable[[int], float]:
    draws = iter(np.random.default_rng(seed).exponential(mean, REQUESTS).tolist())
    return lambda _: next(draws)


def mean_wait(due: np.ndarray, batcher: Batcher, service: Callable[[int], float]) -> float:
    """Seconds, of requests that are each served alone."""
    served = []

    def drawn(batch: int) -> float:
        served.append(service(batch))
        return served[-1]

    return float((completions(due, batcher, drawn) - due - np.array(served)).mean())


def erlang_c(servers: int, offered: float) -> float:
    """Probability of waiting in an M/M/k queue (Erlang, 1917)."""
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(offered**k / math.factorial(k) for k in range(servers)) + last)


@pytest.mark.parametrize("instances", [1, 2, 8])
def test_without_batches_it_is_m_m_k(instances: int) -> None:
    mean, utilization = 0.01, 0.7
    rate = instances * utilization / mean
    waits = mean_wait(poisson(rate), Batcher(instances=instances), exponential(mean))
    theory = erlang_c(instances, instances * utilization) * mean / (instances * (1 - utilization))
    assert waits == pytest.approx(theory, rel=0.05)


def test_with_a_constant_service_time_it_is_m_d_1() -> None:
    mean, utilization = 0.01, 0.8
    waits = mean_wait(poisson(utilization / mean), Batcher(), lambda _: mean)
    assert waits == pytest.approx(utilization * mean / (2 * (1 - utilization)), rel=0.05)


def test_batches_of_any_size_that_all_take_as_long() -> None:
    """Whoever arrives while a batch is served is in the next one, if none is ever full. Where many arrive in
    that time, a request waits for the rest of a service, which is uniform, and takes a whole one."""
    mean, rate = 0.01, 20_000.0
    took = completions(poisson(rate), Batcher(max_batch=4096), lambda _: mean) - poisson(rate)
    assert float(took.mean()) == pytest.approx(1.5 * mean, rel=0.02)
    assert float(took.max()) <= 2 * mean + 1e-9


def test_what_is_served_at_most_is_a_full_batch_of_each_instance_in_each_service_time() -> None:
    batcher = Batcher(max_batch=8, instances=3)
    due = np.zeros(24_000)
    end = float(completions(due, batcher, lambda b: 0.001 + 0.0005 * b).max())
    assert 24_000 / end == pytest.approx(3 * 8 / 0.005, rel=1e-6)


def batches(due: list[float], batcher: Batcher, service_s: float = 1.0) -> list[tuple[float, int]]:
    """(when it was answered, how many) of each batch."""
    sizes: list[int] = []
    done = completions(np.array(due), batcher, lambda b: sizes.append(b) or service_s)
    ends, at = [], 0
    for size in sizes:
        ends.append((float(done[at]), size))
        at += size
    return ends


def test_without_a_delay_nothing_waits_for_others() -> None:
    assert batches([0, 0.1], Batcher(max_batch=4)) == [(1.0, 1), (2.0, 1)]


def test_a_batch_waits_for_others_until_its_oldest_request_is_as_old_as_the_delay() -> None:
    delayed = Batcher(max_batch=4, queue_delay_s=0.5)
    assert batches([0, 0.1, 0.6], delayed) == [(1.5, 2), (2.5, 1)]


def test_a_full_batch_goes_at_once() -> None:
    assert batches([0, 0.1, 0.2, 0.9], Batcher(max_batch=3, queue_delay_s=5)) == [(1.2, 3), (6.9, 1)]


def test_a_preferred_size_goes_at_once_and_what_is_between_two_waits() -> None:
    preferring = Batcher(max_batch=8, queue_delay_s=5, preferred=(2, 4))
    assert batches([0, 0.1, 0.2], preferring) == [(1.1, 2), (6.2, 1)]


def test_the_largest_preferred_size_that_is_there_is_taken() -> None:
    preferring = Batcher(max_batch=8, queue_delay_s=5, preferred=(2, 4))
    assert batches([0, 0, 0, 0, 0], preferring)[0] == (1.0, 4)


def test_a_request_of_several_counts_as_several() -> None:
    sizes: list[int] = []
    completions(np.zeros(6), Batcher(max_batch=8), lambda b: sizes.append(b) or 1.0, size=3)
    assert sizes == [6, 6, 6]


def test_a_request_that_is_larger_than_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="larger than max_batch"):
        completions(np.zeros(1), Batcher(max_batch=2), lambda _: 1.0, size=3)


@settings(max_examples=200)
@given(
    gaps=st.lists(st.floats(0, 2), max_size=60),
    max_batch=st.integers(1, 9),
    delay=st.floats(0, 3),
    instances=st.integers(1, 4),
    preferred=st.sets(st.integers(1, 9), max_size=3),
)
def test_whatever_the_configuration_each_request_is_answered_once_in_its_turn(
    gaps: list[float], max_batch: int, delay: float, instances: int, preferred: set[int]
) -> None:
    due = np.cumsum(gaps)
    batcher = Batcher(max_batch, delay, instances, tuple(sorted(p for p in preferred if p <= max_batch)))
    sizes: list[int] = []
    done = completions(due, batcher, lambda b: sizes.append(b) or 1.0)
    assert sum(sizes) == due.size
    assert all(1 <= size <= max_batch for size in sizes)
    assert (done >= due + 1.0 - 1e-9).all()
    assert all(a <= b + 1e-9 for a, b in pairwise(done.tolist()))
    if instances >= due.size:  # an instance is always free: nothing waits for longer than the delay
        assert (done <= due + delay + 1.0 + 1e-9).all()
