"""The ratio of two figures by their intervals: what it covers, and what holds of any."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.comparison.ratios import between, pooled, ratio, standing
from harness.schema.tune_result import Figure

positive = st.floats(1e-6, 1e6)


@st.composite
def figures(draw: st.DrawFn) -> Figure:
    low, value, high = sorted(draw(st.tuples(positive, positive, positive)))
    return Figure(value=value, low=low, high=high)


def figure(value: float | None, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(value=value, low=low, high=high)


@given(figures(), figures())
def test_a_ratio_lies_in_its_interval_which_is_no_narrower_than_either_and_no_wider_than_both(
    one: Figure, other: Figure
) -> None:
    found = ratio(one, other)
    assert found.value and found.low and found.high and one.value and other.value and other.low and other.high
    assert one.low and one.high
    assert found.low <= found.value * (1 + 1e-9) and found.value <= found.high * (1 + 1e-9)
    assert found.low * (1 + 1e-9) >= one.low / other.high and found.high <= one.high / other.low * (1 + 1e-9)
    width = math.log(found.high / found.low)
    assert width >= max(math.log(e.high / e.low) for e in (one, other) if e.high and e.low) / 2 - 1e-9


@given(figures(), figures())
def test_the_other_way_round_it_is_one_over_it(one: Figure, other: Figure) -> None:
    there, back = ratio(one, other), ratio(other, one).inverted
    for name in ("value", "low", "high"):
        assert getattr(there, name) == pytest.approx(getattr(back, name), rel=1e-6)


def test_at_least_stays_at_least_and_nothing_is_extrapolated() -> None:
    at_least, reference = figure(None, 800), figure(600, 570, 650)
    found = ratio(at_least, reference)
    assert (found.value, found.low, found.high) == (None, 800 / 650, None)
    assert standing(found) == "more"
    assert ratio(reference, at_least) == figure(None, None, 650 / 800)
    none_held = ratio(figure(None, None, 50), reference)
    assert (none_held.low, none_held.high) == (None, 50 / 570) and standing(none_held) == "less"
    assert standing(ratio(figure(None, 500), reference)) == "not known"
    assert standing(ratio(figure(2.0), figure(1.0))) == "not known"
    assert standing(ratio(figure(610, 580, 640), reference)) == "not told apart"


def test_the_interval_of_a_ratio_covers_what_it_promises() -> None:
    """20,000 pairs: log figures with intervals that are even, and that are longer to one side."""
    rng = np.random.default_rng(5)
    for low, high in ((0.05, 0.05), (0.03, 0.12), (0.2, 0.02)):
        covered, many = 0, 20_000
        errors = rng.standard_normal((many, 2))
        for one, other in errors:
            # Where the truth lies above the value, the interval's upper part must reach it, and so on.
            found = ratio(_seen(2.0, one, low, high), _seen(1.0, other, low, high))
            assert found.low and found.high
            covered += found.low <= 2.0 <= found.high
        assert covered / many > 0.95 - 4 * math.sqrt(0.95 * 0.05 / many), (low, high)


def _seen(truth: float, error: float, low: float, high: float) -> Figure:
    """A figure whose logarithm was off by `error` standard errors, with its 95% interval."""
    value = truth * math.exp(error * (low if error > 0 else high))
    return figure(value, value * math.exp(-1.96 * low), value * math.exp(1.96 * high))


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_with_several_runs_of_a_machine_what_differs_from_run_to_run_is_in_the_interval(runs: int) -> None:
    """Each run's own interval is right for itself, and knows nothing of the 4% from run to run."""
    rng = np.random.default_rng(runs)
    many, within, between_runs = 4_000, 0.01, 0.04
    covered = {"grouped": 0, "one run": 0}
    for _ in range(many):
        sides = []
        for truth in (1.5, 1.0):
            logs = (
                math.log(truth)
                + between_runs * rng.standard_normal(runs)
                + within * rng.standard_normal(runs)
            )
            sides.append(
                [figure(math.exp(x), math.exp(x - 1.96 * within), math.exp(x + 1.96 * within)) for x in logs]
            )
        for name, found in (
            ("grouped", ratio(pooled(sides[0]), pooled(sides[1]))),
            ("one run", ratio(sides[0][0], sides[1][0])),
        ):
            assert found.low and found.high
            covered[name] += found.low <= 1.5 <= found.high
    assert covered["grouped"] / many > 0.95 - 4 * math.sqrt(0.95 * 0.05 / many)
    assert covered["one run"] / many < 0.6, "as the documentation says of single runs"


@given(st.lists(figures(), min_size=2, max_size=6))
def test_pooled_runs_have_the_mean_and_never_less_than_chance_alone(runs: list[Figure]) -> None:
    found = pooled(runs)
    logs = [math.log(run.value) for run in runs if run.value]
    assert found.value == pytest.approx(math.exp(sum(logs) / len(logs)))
    assert found.low and found.high and found.low <= found.value * (1 + 1e-9)
    own = math.sqrt(sum(math.log(run.high / run.value) ** 2 for run in runs if run.high and run.value)) / len(
        runs
    )
    assert math.log(found.high / found.value) >= own - 1e-6


def test_one_run_is_itself_and_a_run_without_a_value_leaves_none() -> None:
    run = figure(10, 9, 11)
    assert pooled([run]) is run
    assert pooled([run, figure(None, 12)]) == figure(None, 9, None)
    counted = pooled([figure(2.0), figure(2.1), figure(2.2)])
    assert counted.low and counted.low < 2.0, "energy has no interval but by how runs differ"


@given(figures(), figures(), st.floats(0, 1))
def test_between_two_points_a_figure_lies_between_them(one: Figure, other: Figure, share: float) -> None:
    found = between(one, other, share)
    for name in ("value", "low", "high"):
        ends = sorted((getattr(one, name), getattr(other, name)))
        assert ends[0] * (1 - 1e-9) <= getattr(found, name) <= ends[1] * (1 + 1e-9)
