"""Tests and intervals that hold at every look, against their definitions and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from harness.verdict.anytime import EFFECT, LEAST_ROUNDS, Rounds, discoveries

VALUES = st.lists(st.floats(-1, 1), min_size=LEAST_ROUNDS, max_size=40)


@pytest.mark.parametrize(("count", "t"), [(3, 2.0), (5, 0.3), (8, 6.0), (30, 3.5)])
def test_the_e_value_is_the_bayes_factor_of_its_definition(count: int, t: float) -> None:
    """The marginal likelihood of t: a noncentral t whose effect is normal, over the central one."""
    rounds = Rounds(count, t / math.sqrt(count), 1.0)

    def density(effect: float) -> float:
        likelihood = stats.nct.pdf(t, count - 1, effect * math.sqrt(count))
        return float(likelihood * stats.norm.pdf(effect, scale=math.sqrt(EFFECT)))

    found, _ = integrate.quad(density, -20, 20, points=[t / math.sqrt(count), 0.0], limit=400)
    assert rounds.e_value() == pytest.approx(found / stats.t.pdf(t, count - 1), rel=1e-3)


@given(VALUES, st.floats(0.0005, 0.2))
def test_the_smallest_change_is_where_the_e_value_is_one_over_alpha(
    values: list[float], alpha: float
) -> None:
    rounds = Rounds.of(values, resolution=1e-3)
    smallest = rounds.smallest(alpha)
    if math.isfinite(smallest):
        assert rounds.e_value(rounds.mean + smallest) == pytest.approx(1 / alpha, rel=1e-6)
    else:
        assert rounds.e_value(rounds.mean + 1e6) <= 1 / alpha
    low, high = rounds.interval(alpha)
    assert low < rounds.mean < high


@given(VALUES, st.floats(-0.5, 0.5), st.floats(0.1, 10))
def test_it_moves_and_scales_with_the_rounds(values: list[float], by: float, scale: float) -> None:
    one = Rounds.of(values, resolution=1e-6)
    other = Rounds.of([scale * (value + by) for value in values], resolution=scale * 1e-6)
    if one.deviation > 1e-5:
        assert other.smallest(0.05) == pytest.approx(scale * one.smallest(0.05), rel=1e-6)
        assert other.interval(0.05)[0] == pytest.approx(scale * (one.interval(0.05)[0] + by), abs=1e-6)
        assert other.e_value(scale * by) == pytest.approx(one.e_value(), rel=1e-3)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("tails", ["normal", "student"])
def test_whoever_looks_after_each_round_finds_nothing_too_often(alpha: float, tails: str) -> None:
    """20,000 comparisons of equal arms, looked at after each of 60 rounds. With the tails of a Student's t of
    4 it holds as well."""
    rng = np.random.default_rng(1)
    size = (20_000, 60)
    values = rng.standard_normal(size) if tails == "normal" else rng.standard_t(4, size)
    n = np.arange(1, 61)
    mean = values.cumsum(axis=1) / n
    spread = ((values**2).cumsum(axis=1) - n * mean**2) / np.maximum(n - 1, 1)
    alarm, outside = np.zeros(size[0], bool), np.zeros(size[0], bool)
    for count in range(LEAST_ROUNDS, 61):
        one, deviation = Rounds(count, 0.0, 1.0), np.sqrt(spread[:, count - 1])
        alarm |= np.abs(mean[:, count - 1]) > one.smallest(alpha) * deviation
        outside |= np.abs(mean[:, count - 1]) > one.interval(alpha)[1] * deviation
    assert alarm.mean() <= alpha and outside.mean() <= alpha, "its guarantee"
    # And it isn't empty: a change of three deviations is found by ten rounds.
    far, deviation = mean[:, 9] + 3 * values.std(), np.sqrt(spread[:, 9])
    assert (np.abs(far) > Rounds(10, 0.0, 1.0).smallest(alpha) * deviation).mean() > 0.95


@given(st.integers(LEAST_ROUNDS, 60), st.floats(0.001, 0.2))
def test_the_rounds_that_are_needed_are_the_fewest(count: int, alpha: float) -> None:
    rounds = Rounds(count, 0.0, 0.01)
    half = rounds.interval(alpha)[1]
    if not math.isfinite(half):
        assert rounds.needed(0.0, alpha) is None
        return
    needed = rounds.needed(half * 1.0001, alpha)
    assert needed is not None and needed <= count
    assert Rounds(needed, 0.0, 0.01).interval(alpha)[1] <= half * 1.0001
    if needed > LEAST_ROUNDS:
        assert Rounds(needed - 1, 0.0, 0.01).interval(alpha)[1] > half * 1.0001


def test_few_rounds_say_nothing() -> None:
    for values in ([], [0.1], [0.1, 0.1]):
        rounds = Rounds.of(values, resolution=1e-4)
        assert rounds.e_value() == 1.0
        assert rounds.smallest(0.05) == rounds.interval(0.05)[1] == math.inf
        assert rounds.needed(0.01, 0.05) is None


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.floats(0.001, 0.2))
def test_discoveries_are_the_largest_and_each_is_large_enough(e_values: list[float], rate: float) -> None:
    found = discoveries(e_values, rate)
    told = [value for value, is_told in zip(e_values, found, strict=True) if is_told]
    rest = [value for value, is_told in zip(e_values, found, strict=True) if not is_told]
    assert all(value >= len(e_values) / (rate * len(told)) for value in told)
    assert not told or not rest or min(told) >= max(rest)
    # No larger set would do.
    for more in range(len(told) + 1, len(e_values) + 1):
        assert sorted(e_values, reverse=True)[more - 1] < len(e_values) / (rate * more)
