from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.analysis.latency import PERCENTILES, rate, requests_needed, summarize

SAMPLES = hnp.arrays(np.float64, st.integers(1, 2000), elements=st.floats(1e-6, 100))


@given(SAMPLES)
def test_percentiles_are_samples_in_order_inside_their_intervals(sample: np.ndarray) -> None:
    figures = summarize(sample)
    known = [getattr(figures, name) for name in PERCENTILES if getattr(figures, name) is not None]
    assert known == sorted(known)
    for name in PERCENTILES:
        value = getattr(figures, name)
        if value is not None:
            low, high = figures.interval_95[name]
            assert value in sample
            assert figures.min <= low <= value <= high <= figures.max


@given(SAMPLES)
def test_a_percentile_is_at_least_as_large_as_its_share_of_the_sample(sample: np.ndarray) -> None:
    figures = summarize(sample)
    for name, share in PERCENTILES.items():
        value = getattr(figures, name)
        if value is not None:
            assert np.mean(sample <= value) >= share - 1e-9
            assert np.mean(sample < value) <= share + 1e-9


def test_no_sample_gives_no_figure() -> None:
    figures = summarize(np.array([]))
    assert figures.p50 is None
    assert figures.mean is None
    assert figures.interval_95 == {}


@pytest.mark.parametrize(("name", "share"), PERCENTILES.items())
def test_a_percentile_needs_the_number_of_requests_that_is_said(name: str, share: float) -> None:
    needed = requests_needed(share)
    rng = np.random.default_rng(1)
    enough = [getattr(summarize(rng.permutation(np.arange(1.0, needed + 1))), name) for _ in range(20)]
    too_few = [getattr(summarize(rng.permutation(np.arange(1.0, needed))), name) for _ in range(20)]
    assert any(value is not None for value in enough)
    assert all(value is None for value in too_few)


def coverage(sample_of: object, truth: float, name: str, runs: int = 300) -> float:
    hits = 0
    for run in range(runs):
        interval = summarize(sample_of(np.random.default_rng(run))).interval_95.get(name)  # type: ignore[operator]
        hits += interval is not None and interval[0] <= truth <= interval[1]
    return hits / runs


@pytest.mark.parametrize(("name", "share"), [("p50", 0.5), ("p99", 0.99)])
def test_intervals_of_independent_samples_cover_the_truth(name: str, share: float) -> None:
    truth = -np.log(1 - share)
    assert coverage(lambda rng: rng.exponential(1.0, 5000), truth, name) >= 0.93


def correlated(rng: np.random.Generator, n: int = 20_000, rho: float = 0.95) -> np.ndarray:
    """exp of a Gaussian AR(1) with unit variance: lognormal values that stay high or low for a while."""
    from scipy.signal import lfilter

    noise = rng.normal(0, np.sqrt(1 - rho**2), n)
    noise[0] = rng.normal()
    return np.exp(lfilter([1.0], [1.0, -rho], noise))


def test_intervals_of_correlated_samples_cover_the_truth() -> None:
    assert coverage(correlated, 1.0, "p50") >= 0.92
    assert coverage(correlated, float(np.exp(0.5)), "mean") >= 0.90


def test_a_disturbance_at_the_very_end_widens_the_interval() -> None:
    steady = np.random.default_rng(1).exponential(1.0, 1000)
    at_the_end, spread = steady.copy(), steady.copy()
    at_the_end[-8:] = 50.0
    spread[::125] = 50.0
    assert summarize(spread).p99 is not None
    assert summarize(at_the_end).p99 is None


def test_taking_correlated_samples_for_independent_ones_would_not_cover() -> None:
    """Shuffled, the same samples give the textbook's interval: this is the check of the check above."""
    assert coverage(lambda rng: rng.permutation(correlated(rng)), 1.0, "p50") < 0.6


@given(st.floats(1, 1e4), st.floats(0.1, 100))
def test_a_rate_is_the_count_over_the_time(per_second: float, seconds: float) -> None:
    times = np.arange(0, seconds, 1 / per_second)[:100_000]
    value, interval = rate(times, seconds)
    assert value == pytest.approx(times.size / seconds)
    if interval is not None:
        assert interval[0] <= value <= interval[1]


def test_the_interval_of_a_poisson_rate_covers_the_truth() -> None:
    hits = 0
    for run in range(300):
        times = np.cumsum(np.random.default_rng(run).exponential(1 / 50, 2000))
        _, interval = rate(times, 20.0)
        assert interval is not None
        hits += interval[0] <= 50 <= interval[1]
    assert hits / 300 >= 0.93
