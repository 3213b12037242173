"""How often something is read, by what it costs."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from harness.probe.reader.pace import Pace


@given(
    cost_ns=st.integers(0, 50_000_000),
    share=st.floats(0.0001, 0.1),
    interval_ns=st.integers(0, 2_000_000_000),
    look_ns=st.integers(1_000_000, 200_000_000),
)
def test_over_a_long_time_it_costs_its_share_at_most_and_never_comes_before_its_interval(
    cost_ns: int, share: float, interval_ns: int, look_ns: int
) -> None:
    pace = Pace(interval_ns, share)
    looked = [at_ns for at_ns in range(0, 400 * look_ns, look_ns) if _looked(pace, at_ns, cost_ns)]
    gaps = [b - a for a, b in itertools.pairwise(looked)]
    assert looked[0] == 0
    assert all(gap >= interval_ns for gap in gaps)
    # the first cost is of a call that was never made before
    assert all(cost_ns <= gap * share * 1.0001 for gap in gaps[1:])
    most = max(interval_ns, cost_ns / share) + look_ns
    assert all(gap <= most for gap in gaps), "it is no rarer than it must be"


def _looked(pace: Pace, at_ns: int, cost_ns: int) -> bool:
    if not pace.due(at_ns):
        return False
    pace.took(at_ns, cost_ns)
    return True


def test_one_call_that_took_long_changes_nothing() -> None:
    pace = Pace(0, 0.001)
    for at_ns, cost_ns in ((0, 10_000_000), (1, 0), (2, 0), (3, 10_000_000), (4, 0)):
        assert pace.due(at_ns)
        pace.took(at_ns, cost_ns)
    pace.took(5, 10_000)
    pace.took(6, 20_000)
    assert not pace.due(6 + 10_000_000 - 1)
    assert pace.due(6 + 10_000_000)
