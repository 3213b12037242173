"""What is learned of service times, from counts that are known to be right."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.planning.service_times import Look, ServiceTimes, Unknown, fitted

RNG = np.random.default_rng(1)
NOISE = RNG.gamma(100, 0.01, 400)


def alone(kind: int = 0, mean_s: float = 0.004, overhead_s: float = 0.001) -> Look:
    """A single user's point."""
    took = mean_s * NOISE
    return Look(kind, [(1, 400, float(took.mean()))], 1, 4.0, took + overhead_s, overhead_s)


def look(
    instances: int,
    busy: float,
    at_once: float = np.inf,
    per_busy: float = 0.0,
    kind: int = 0,
    times: float = 1.0,
) -> Look:
    """A point in which instances compute for that share of the time, batches of 2, 4 and 8 in turns."""
    computing = 1 + RNG.binomial(instances - 1, busy, 100_000)
    factor = times * np.maximum(1, computing / at_once).mean() * np.exp(per_busy * busy)
    means = {batch: (0.003 + 0.001 * batch) * factor for batch in (2, 4, 8)}
    count = round(busy * instances * 10 / sum(means.values()))
    return Look(kind, [(batch, count, mean) for batch, mean in means.items()], instances, 10.0)


def test_what_each_batch_takes_and_what_slows_it_down_is_found() -> None:
    slower = dict(at_once=1.7, per_busy=0.1)
    looks = [alone(), *(look(n, busy, **slower) for n in (1, 2, 4) for busy in (0.1, 0.5, 0.95))]
    times = fitted(looks, ["text"])
    assert times.at_once == pytest.approx(1.7, rel=0.05)
    assert times.per_busy == pytest.approx(0.1, abs=0.03)
    assert times.overhead_s == 0.001
    (kind,) = times.kinds
    assert kind.batches.tolist() == [1, 2, 4, 8]
    assert [kind.mean_s(n) for n in (2, 4, 8)] == pytest.approx([0.005, 0.007, 0.011], rel=0.03)
    assert kind.mean_s(6) == pytest.approx(0.009, rel=0.03), "between what was measured"
    assert kind.mean_s(16) == pytest.approx(0.019, rel=0.1), "past it, as a straight line"
    assert times.speeds(3) == pytest.approx([1.0, times.at_once / 2, times.at_once / 3])


def test_of_one_instance_and_three_it_is_told_what_two_do() -> None:
    """Two cores: the third instance shares them, and the second doesn't."""
    looks = [alone(), *(look(n, 0.97, at_once=2.0) for n in (1, 3))]
    assert fitted(looks, ["text"]).speeds(3) == pytest.approx([1.0, 1.0, 2 / 3], rel=0.03)


def test_instances_that_do_not_slow_each_other_down_are_not_taken_to() -> None:
    looks = [alone(), *(look(n, busy) for n in (1, 4) for busy in (0.3, 0.9))]
    assert fitted(looks, ["text"]).speeds(4) == pytest.approx([1.0] * 4, rel=0.03)
    assert fitted([alone(), look(1, 0.5)], ["text"]).speeds(4) == (1.0,) * 4, "nothing is known of others"


def test_single_executions_differ_as_those_of_a_single_user() -> None:
    times = fitted([alone(), look(1, 0.5)], ["text"])
    draw = times.drawn(largest=8, busy=0.0, seed=1)
    drawn = np.array([draw(0, 4) for _ in range(20_000)])
    assert drawn.mean() == pytest.approx(times.kinds[0].mean_s(4), rel=0.01)
    assert drawn.std() / drawn.mean() == pytest.approx(NOISE.std() / NOISE.mean(), rel=0.05)


def test_each_kind_has_its_own() -> None:
    looks = [alone(0), alone(1, mean_s=0.02), look(1, 0.5), look(1, 0.9, kind=1, times=5.0)]
    times = fitted(looks, ["short", "long"])
    assert times.kinds[0].mean_s(1) < 0.005 and times.kinds[1].mean_s(1) > 0.015


@pytest.mark.parametrize(
    ("looks", "words"),
    [
        ([look(1, 0.5)], "no single user sent text by itself"),
        ([alone(0, 0.004), look(1, 0.5, kind=1)], "no single user sent long by itself"),
    ],
)
def test_what_was_not_measured_is_said(looks: list[Look], words: str) -> None:
    names = ["text"] if len({each.kind for each in looks}) == 1 else ["text", "long"]
    with pytest.raises(Unknown, match=words):
        fitted(looks, names)


def test_a_class_of_which_the_server_told_nothing_is_named() -> None:
    silent = Look(0, [], 1, 4.0, 0.004 * NOISE, 0.0)
    with pytest.raises(Unknown, match="told no time of a batch of text"):
        fitted([silent], ["text"])


@settings(max_examples=60)
@given(
    means=st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=8),
    counts=st.lists(st.integers(1, 10_000), min_size=8, max_size=8),
    instances=st.integers(1, 8),
)
def test_whatever_was_counted_a_larger_batch_takes_no_less_and_no_figure_is_odd(
    means: list[float], counts: list[int], instances: int
) -> None:
    by_batch = [(n + 1, count, mean) for n, (mean, count) in enumerate(zip(means, counts, strict=False))]
    times: ServiceTimes = fitted([alone(), Look(0, by_batch, instances, 10.0)], ["text"])
    taken = [times.kinds[0].mean_s(n) for n in range(1, 20)]
    assert all(0 < a <= b * (1 + 1e-9) for a, b in pairwise(taken))
    assert all(np.isfinite([times.per_busy, *times.speeds(instances)]))
