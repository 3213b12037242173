"""The simulated batcher: against queueing theory where there is one, against Triton's rules where not."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.simulation.batcher import Batcher, Station, completions

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
    completions(np.zeros(6), Batcher(max_batch=8, sizes=(3,)), lambda b: sizes.append(b) or 1.0)
    assert sizes == [6, 6, 6]


def test_a_request_that_is_larger_than_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="larger than max_batch"):
        completions(np.zeros(1), Batcher(max_batch=2, sizes=(3,)), lambda _: 1.0)


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


@pytest.mark.parametrize("most", [1, 4, 32])
def test_batches_with_exponential_times_are_the_bulk_queue_of_bailey(most: int) -> None:
    """N. T. J. Bailey, "On queueing processes with bulk service", JRSS B 16, 1954, for a server that begins
    with whatever waits: busy, the number that waits is geometric with the root of μ·r^(b+1) - (λ+μ)·r + λ."""
    mean = 0.01
    rate = 0.8 * most / mean
    roots = np.roots([1 / mean, *[0.0] * (most - 1), -(rate + 1 / mean), rate])
    (r,) = (z.real for z in roots if abs(z.imag) < 1e-9 and 0 < z.real < 1 - 1e-9)
    nobody_waits = 1 / (1 / mean / rate + 1 / (1 - r))
    theory = nobody_waits * r / (1 - r) ** 2 / rate
    due = poisson(rate)
    took = completions(due, Batcher(max_batch=most), exponential(mean)) - due
    assert float(took.mean()) == pytest.approx(theory + mean, rel=0.05)


def test_instances_that_share_a_processor_are_together_as_fast_as_one() -> None:
    """Birth and death with the same rates as M/M/1, so as many are there."""
    mean, utilization = 0.01, 0.7
    due = poisson(utilization / mean)
    shared = Batcher(instances=50, speeds=[1 / n for n in range(1, 51)])
    took = completions(due, shared, exponential(mean)) - due
    assert float(took.mean()) == pytest.approx(mean / (1 - utilization), rel=0.05)


def test_an_instance_is_slower_while_another_computes() -> None:
    slowed = Batcher(instances=2, speeds=(1.0, 0.5))
    done = completions(np.array([0.0, 0.5]), slowed, lambda _: 1.0)
    assert done.tolist() == pytest.approx([1.5, 2.0]), (
        "half a second alone, one together, half a second alone"
    )


def kinds(due: list[float], of: list[int], batcher: Batcher) -> list[tuple[int, int]]:
    """(kind, inferences) of each batch that is made."""
    made: list[tuple[int, int]] = []
    station = Station(batcher, lambda kind, inferences: made.append((kind, inferences)) or 1.0)
    station.take(np.array(due), np.array(of))
    station.advance(math.inf)
    assert len(station.done) == len(due) and station.in_flight == 0
    return made


def test_a_batch_ends_where_the_shape_changes() -> None:
    two = Batcher(max_batch=8, sizes=(1, 3))
    assert kinds([0.0, 0.1, 0.1, 0.1, 0.1], [0, 0, 0, 1, 0], two) == [(0, 1), (0, 2), (1, 3), (0, 1)]
    assert kinds([0.0, 0.1, 0.1, 0.1], [0, 1, 1, 1], two) == [(0, 1), (1, 6), (1, 3)]


def test_another_shape_ends_the_wait_for_others() -> None:
    waiting = Batcher(max_batch=8, queue_delay_s=5.0, sizes=(1, 1))
    station = Station(waiting, lambda *_: 1.0)
    station.take(np.array([0.0, 0.1, 0.3]), np.array([0, 0, 1]))
    station.advance(math.inf)
    assert station.done == pytest.approx([1.3, 1.3, 6.3]) or station.done == pytest.approx(
        [1.3, 1.3, 5.3 + 1.0]
    )


@settings(max_examples=200)
@given(
    gaps=st.lists(st.floats(1e-3, 2), max_size=60),
    max_batch=st.integers(3, 9),
    delay=st.sampled_from([0.0, 0.50000123, 3.0000071]),
    instances=st.integers(1, 4),
    seed=st.integers(0, 100),
)
def test_a_station_that_is_asked_often_does_what_it_does_by_itself(
    gaps: list[float], max_batch: int, delay: float, instances: int, seed: int
) -> None:
    batcher = Batcher(max_batch, delay, instances, (2,) if seed % 2 else (), (1, 3), (1.0, 0.8, 0.7))
    due, of = np.cumsum(gaps), np.random.default_rng(seed).integers(2, size=len(gaps))
    # No event comes at the very time of an arrival: which of the two is first would be a matter of taste.
    whole, often = (Station(batcher, lambda kind, n: 0.30000131 + 0.1000017 * n + kind) for _ in range(2))
    whole.take(due, of)
    whole.advance(math.inf)
    for when, kind in zip(due.tolist(), of.tolist(), strict=True):
        often.advance(when - 1e-4)
        assert often.advance(when) > when
        often.arrive(when, kind)
    often.advance(math.inf)
    assert often.done == pytest.approx(whole.done)
