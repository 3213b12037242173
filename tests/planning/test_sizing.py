"""How many replicas, what breaks first, and when growth outruns them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.planning.sizing import Fleet, spare, years_until
from tests.planning.test_replica import replica

LIMITS = {0.99: 0.1}
"""One replica, an M/M/1 queue of 10 ms, holds 54/s under it."""


def test_the_fewest_that_hold_are_found() -> None:
    fleet = Fleet(replica(), LIMITS, "random")
    needed = fleet.needed(1000.0)
    assert needed is not None
    assert fleet.holds(needed, 1000.0) and not fleet.holds(needed - 1, 1000.0)
    assert needed == pytest.approx(1000 / 53.9, rel=0.1), "at random each replica is a queue of its own"
    assert fleet.needed(20.0) == 1


def test_in_turns_fewer_do() -> None:
    turns, chance = (Fleet(replica(), LIMITS, how).needed(1000.0) or 0 for how in ("round_robin", "random"))
    assert turns < chance


def test_headroom_and_losses_take_more() -> None:
    plain = Fleet(replica(), LIMITS, "random").needed(1000.0) or 0
    free = Fleet(replica(), LIMITS, "random", headroom=0.3).needed(1000.0) or 0
    assert free == pytest.approx(plain / 0.7, abs=1.5)
    one_lost = Fleet(replica(), LIMITS, "random", spare=spare(1, None)).needed(1000.0)
    assert one_lost == plain + 1
    zoned = Fleet(replica(), LIMITS, "random", spare=spare(0, 3)).needed(1000.0) or 0
    assert zoned - math.ceil(zoned / 3) == pytest.approx(plain, abs=1)


def test_what_no_number_holds_is_none() -> None:
    assert Fleet(replica(), {0.99: 0.02}).needed(10.0) is None


def test_the_first_to_break_is_the_tighter_limit_and_then_the_queue_grows() -> None:
    fleet = Fleet(replica(), {0.5: 0.05, 0.99: 0.1}, "random")
    found = fleet.breaks(10)
    assert set(found) == {0.5, 0.99, None}
    assert found[0.99] < found[0.5] < found[None]
    assert found[None] == pytest.approx(1000, rel=0.1)
    assert fleet.most_per_s(10) == pytest.approx(found[0.99], rel=0.02)
    assert Fleet(replica(), LIMITS, spare=spare(3, None)).most_per_s(3) is None


@given(st.integers(1, 1000), st.integers(0, 50), st.one_of(st.none(), st.integers(2, 20)))
def test_a_zone_or_the_failures_whichever_is_more(replicas: int, failures: int, zones: int | None) -> None:
    lost = spare(failures, zones)(replicas)
    assert lost >= failures and lost >= (replicas / zones if zones else 0)
    assert lost in (failures, math.ceil(replicas / zones) if zones else 0)


def test_growth_is_compound() -> None:
    assert years_until(100, 200, 1.0) == pytest.approx(1.0)
    assert years_until(100, 200, 0.0) is None
    assert years_until(200, 100, 0.5) == 0.0
