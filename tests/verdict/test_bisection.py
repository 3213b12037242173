"""The order in which builds are judged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.verdict.bisection import Search


@given(st.integers(1, 200), st.data())
def test_the_first_bad_one_is_found_in_as_few_steps_as_said(count: int, data: st.DataObject) -> None:
    first_bad = data.draw(st.integers(0, count - 1))
    search = Search(count)
    most, steps = search.most(), 0
    while (number := search.next()) is not None:
        search.known[number] = "bad" if number >= first_bad else "good"
        steps += 1
    assert list(search.suspects) == [first_bad]
    assert steps <= most


@given(st.integers(1, 60), st.data())
def test_what_cannot_be_told_leaves_suspects_of_which_one_is_it(count: int, data: st.DataObject) -> None:
    first_bad = data.draw(st.integers(0, count - 1))
    untold = data.draw(st.sets(st.integers(0, count - 1)))
    search = Search(count)
    while (number := search.next()) is not None:
        assert number not in search.known
        search.known[number] = "untold" if number in untold else "bad" if number >= first_bad else "good"
    suspects = set(search.suspects)
    assert first_bad in suspects
    assert suspects - {max(suspects)} <= untold, "all that could be told was"
