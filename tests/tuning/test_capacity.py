"""The capacity of a configuration by what was measured of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.tuning.capacity import NEARLY, Rated, capacity, cliff


def curve(rate: float, end: float) -> float:
    """Logarithm of a percentile over its limit, as a queue's grows: steeper towards the end."""
    return 3 * math.log(rate / end)


def measured(rates: list[float], end: float, rng: np.random.Generator, error: float = 0.1) -> list[Rated]:
    moment = math.exp(0.03 * rng.standard_normal())
    return [
        Rated(rate, curve(rate, end * moment) + error * float(rng.standard_normal()), error) for rate in rates
    ]


def test_its_interval_holds_the_truth_in_99_of_100() -> None:
    rng, held = np.random.default_rng(1), 0
    for _ in range(300):
        found = capacity(measured([70, 85, 100, 115, 130], 100.0, rng))
        assert found.low is not None
        held += found.low <= 100 <= (found.high or math.inf)
    assert held >= 0.96 * 300


def test_more_moments_make_it_narrower() -> None:
    rng = np.random.default_rng(2)
    seen = measured([90, 100, 110], 100.0, rng, 0.02)
    assert capacity(seen, visits=9).width < 0.7 * capacity(seen, visits=1).width


def test_where_every_rate_missed_there_is_only_an_upper_end() -> None:
    found = capacity([Rated(50, 0.9, 0.05), Rated(80, 1.2, 0.05)])
    assert found.value is None
    assert found.low is None


def test_where_every_rate_held_it_is_what_was_served_at_most() -> None:
    found = capacity([Rated(50, -0.9, 0.05)], (100.0, 1.0))
    assert found.value == pytest.approx(NEARLY * 100)
    assert found.high is not None
    assert found.high < 110


def test_without_a_rate_it_is_at_most_what_was_served() -> None:
    found = capacity([], (100.0, 1.0))
    assert found.value is None
    assert found.high == pytest.approx(NEARLY * 100, rel=0.1)


@given(
    seen=st.lists(
        st.builds(
            Rated,
            st.floats(1, 1e4),
            st.floats(-3, 3),
            st.floats(0.02, 1),
        ),
        max_size=8,
    ),
    served=st.none() | st.tuples(st.floats(1, 1e4), st.floats(0.01, 10)),
)
def test_the_value_lies_in_its_interval(seen: list[Rated], served: tuple[float, float] | None) -> None:
    found = capacity(seen, served)
    if found.value is not None:
        assert found.low is None or found.low <= found.value
        assert found.high is None or found.value <= found.high


def test_a_cliff_is_where_a_percentile_grows_to_three_times_within_a_tenth() -> None:
    assert cliff([Rated(100, -0.7, 0.05), Rated(105, 0.8, 0.05)]) == pytest.approx((100, 105))
    assert cliff([Rated(100, -0.3, 0.05), Rated(105, 0.3, 0.05)]) is None
    assert cliff([Rated(100, -0.7, 0.05), Rated(150, 0.8, 0.05)]) is None
    assert cliff([]) is None
