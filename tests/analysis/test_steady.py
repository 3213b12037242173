"""Steady loads are let alone, transients are cut where they end, and what never settles is found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harness.analysis import queueing
from harness.analysis.steady import find
from harness.schema.result import SteadyState

Latency = np.ndarray
Draw = Callable[[np.random.Generator], Latency]


def states(draw: Draw, runs: int = 100) -> list[SteadyState]:
    samples = [draw(np.random.default_rng(seed)) for seed in range(runs)]
    return [find(latency, np.arange(latency.size) * 0.01) for latency in samples]


def mm1(rng: np.random.Generator, n: int, utilization: float) -> Latency:
    due = np.cumsum(rng.exponential(0.004 / utilization, n + 4000))
    return (queueing.finishes(due, rng.exponential(0.004, n + 4000)) - due)[4000:]


def stalls(rng: np.random.Generator, n: int) -> Latency:
    due = np.arange(n) / 97.3 + rng.uniform(0, 5)
    return queueing.finishes(due, np.full(n, 0.005), 0.5, 5.0) - due + rng.exponential(0.0003, n)


def slow_and_fast(rng: np.random.Generator, n: int, requests: float) -> Latency:
    """A lognormal AR(1): latency that stays high or low for about so many requests."""
    from scipy.signal import lfilter

    keep = np.exp(-1 / requests)
    noise = rng.normal(0, np.sqrt(1 - keep**2), n)
    noise[0] = rng.normal()
    return 0.01 * np.exp(0.3 * lfilter([1.0], [1.0, -keep], noise))


def one_outlier(rng: np.random.Generator) -> Latency:
    latency = 0.005 + rng.exponential(0.001, 5000)
    latency[rng.integers(1000, 2500)] = 10.0
    return latency


STEADY: dict[str, Draw] = {
    "independent": lambda rng: 0.005 + rng.exponential(0.005, 3000),
    "independent, few": lambda rng: 0.005 + rng.exponential(0.005, 200),
    "independent, many": lambda rng: 0.005 + rng.exponential(0.005, 100_003),
    "M/M/1 at 0.8": lambda rng: mm1(rng, 10_000, 0.8),
    "M/M/1 at 0.8, short": lambda rng: mm1(rng, 1000, 0.8),
    "M/M/1 at 0.5": lambda rng: mm1(rng, 3000, 0.5),
    "AR(1)": lambda rng: slow_and_fast(rng, 5000, 50),
    "AR(1), short": lambda rng: slow_and_fast(rng, 1000, 40),
    "stalls": lambda rng: stalls(rng, 6000),
    "one or two stalls": lambda rng: stalls(rng, 600),
    "one outlier": one_outlier,
}


@pytest.mark.parametrize("name", STEADY)
def test_a_steady_load_is_seldom_called_anything_else(name: str) -> None:
    found = states(STEADY[name])
    assert sum(state.steady is not True for state in found) <= 5
    size = STEADY[name](np.random.default_rng(0)).size
    assert sum(state.skipped_requests > 0.01 * size for state in found) <= 8
    assert np.mean([state.skipped_requests for state in found]) <= 0.015 * size


def growing(rng: np.random.Generator, to: float) -> Latency:
    return np.linspace(1, to, 2000) * (0.005 + rng.exponential(0.005, 2000))


def overloaded(rng: np.random.Generator, utilization: float) -> Latency:
    due = np.cumsum(rng.exponential(0.004 / utilization, 1500))
    return queueing.finishes(due, np.full(1500, 0.004)) - due


def step(rng: np.random.Generator, to: float) -> Latency:
    return np.where(np.arange(2000) < 1000, 1, to) * (0.005 + rng.exponential(0.005, 2000))


NEVER: dict[str, tuple[Draw, str]] = {
    "linear growth": (lambda rng: growing(rng, 2.0), "grew steadily"),
    "growth by half": (lambda rng: growing(rng, 1.5), "grew steadily"),
    "overloaded by a fifth": (lambda rng: overloaded(rng, 1.2), "grew"),
    "overloaded by half": (lambda rng: overloaded(rng, 1.5), "grew steadily"),
    "a step up at half time": (lambda rng: step(rng, 1.6), "grew by a step"),
    "a fall that goes on": (lambda rng: growing(rng, 2.0)[::-1], "fell steadily"),
}


@pytest.mark.parametrize("name", NEVER)
def test_what_never_settles_is_found(name: str) -> None:
    draw, words = NEVER[name]
    found = states(draw, 50)
    assert sum(state.steady is False for state in found) >= 45
    assert sum(words in state.why for state in found) >= 43


def test_a_drift_within_the_margin_is_let_pass_however_significant() -> None:
    found = states(lambda rng: np.linspace(0.95, 1.05, 20_000) * (0.01 + rng.exponential(0.001, 20_000)), 20)
    assert all(state.steady for state in found)
    assert "within 25%" in found[0].why


def transient(rng: np.random.Generator, n: int, requests: float, by: float = 3.0) -> Latency:
    return (1 + by * np.exp(-np.arange(n) / requests)) * (0.005 + rng.exponential(0.005, n))


@pytest.mark.parametrize(("n", "requests"), [(2000, 50), (2000, 100), (20_000, 500)])
def test_an_exponential_transient_is_cut_where_it_ends(n: int, requests: int) -> None:
    """After 2 to 4 time constants what is left is 41 to 5% of the steady latency, under its noise."""
    found = states(lambda rng: transient(rng, n, requests), 50)
    assert sum(state.steady is True for state in found) >= 49
    cut = np.array([state.skipped_requests for state in found]) / requests
    assert np.quantile(cut, 0.05) >= 1.5
    assert np.quantile(cut, 0.95) <= 4.5
    assert found[0].skipped_s == pytest.approx(found[0].skipped_requests * 0.01)


def test_an_outlier_does_not_hide_a_transient() -> None:
    def draw(rng: np.random.Generator) -> Latency:
        latency = transient(rng, 2000, 50)
        latency[rng.integers(500, 1000)] = 10.0
        return latency

    cut = np.array([state.skipped_requests for state in states(draw, 50)])
    assert np.quantile(cut, 0.1) >= 75
    assert np.quantile(cut, 0.9) <= 250


def test_a_few_slow_requests_at_the_start_are_cut() -> None:
    found = states(lambda rng: np.where(np.arange(5000) < 25, 10, 1) * (0.005 + rng.exponential(0.001, 5000)))
    assert all(25 <= state.skipped_requests <= 250 for state in found)


@pytest.mark.parametrize("name", [*STEADY, "transient of 1000"])
def test_never_more_than_half_is_cut(name: str) -> None:
    draw = STEADY.get(name, lambda rng: transient(rng, 2000, 1000))
    for state, seed in zip(states(draw, 30), range(30), strict=True):
        assert state.skipped_requests <= draw(np.random.default_rng(seed)).size / 2


def test_too_few_requests_can_not_be_told() -> None:
    for n in (0, 1, 99):
        state = find(np.ones(n), np.arange(n) * 1.0)
        assert (state.steady, state.skipped_requests) == (None, 0)
        assert "too few to tell" in state.why
    assert find(np.ones(100), np.arange(100) * 1.0).steady is True


def test_why_says_what_was_seen() -> None:
    latency = np.linspace(0.0120, 0.0198, 2000) + np.random.default_rng(1).normal(0, 0.0001, 2000)
    assert find(latency, np.arange(2000) * 0.01).why == (
        "latency grew steadily from 12.0 ms to 19.8 ms over the measured phase"
    )
