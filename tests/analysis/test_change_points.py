"""Where a series changed its level, by simulation with seeds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.change_points import FEWEST, levels

NOISE = 0.01


def nights(rng: np.random.Generator, many: int, *, heavy: bool = False) -> np.ndarray:
    """p50 in seconds of so many nights without a change."""
    spread = rng.standard_t(4, many) / np.sqrt(2) if heavy else rng.normal(size=many)
    return 0.02 * np.exp(NOISE * spread)


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize(("many", "repeats"), [(8, 2000), (30, 2000), (365, 400)])
def test_a_series_without_a_change_hardly_ever_has_one(many: int, repeats: int, heavy: bool) -> None:
    rng = np.random.default_rng(many)
    alarms = sum(len(levels(nights(rng, many, heavy=heavy))) > 1 for _ in range(repeats))
    assert alarms / repeats <= 0.005


@pytest.mark.parametrize("factor", [1.05, 0.95])
def test_a_step_of_five_percent_among_one_percent_is_found_within_a_night(factor: float) -> None:
    rng, found = np.random.default_rng(5), 0
    for _ in range(500):
        at = int(rng.integers(5, 26))
        values = nights(rng, 30)
        values[at:] *= factor
        of = levels(values)
        if len(of) == 2 and abs(of[1].first - at) <= 1:
            found += 1
            assert of[1].value / of[0].value == pytest.approx(factor, abs=0.02)
    assert found >= 490


def test_each_of_several_steps_is_found() -> None:
    values = nights(np.random.default_rng(1), 90)
    values[30:60] *= 1.1
    values[60:] *= 1.3
    assert [level.first for level in levels(values)] == [0, 30, 60]


@pytest.mark.parametrize(("many", "at"), [(30, 15), (365, 200), (365, 364), (365, 0)])
@pytest.mark.parametrize("factor", [2, 100, 0.01])
def test_one_night_that_is_off_is_no_level(many: int, at: int, factor: float) -> None:
    values = nights(np.random.default_rng(2), many)
    values[at] *= factor
    assert len(levels(values)) == 1


def test_too_few_values_and_those_without_a_logarithm_have_no_level() -> None:
    step = [0.01] * 4 + [0.02] * 4
    assert len(levels(step)) == 2 and levels(step[1:]) == ()
    assert levels([0.0, *step]) == () and levels([]) == ()


def test_the_same_every_night_is_one_level() -> None:
    (level,) = levels([0.02] * 30)
    assert level[:2] == (0, 30) and level.value == pytest.approx(0.02)


@given(st.lists(st.floats(1e-12, 1e12), min_size=FEWEST, max_size=60))
def test_levels_cover_every_series_once(values: list[float]) -> None:
    found = levels(values)
    assert found[0].first == 0 and found[-1].end == len(values)
    assert all(a.end == b.first for a, b in pairwise(found))
    assert all(min(values) * 0.999 <= each.value <= max(values) * 1.001 for each in found)
