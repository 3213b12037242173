"""How far a prediction is right, by what was measured."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from harness.planning.demand import Demand
from harness.planning.replica import Replica, served
from harness.planning.service_times import KindTimes, ServiceTimes, Unknown
from harness.planning.trust import ENOUGH, Measurement, crossing, measured_like, trust
from harness.simulation.batcher import Batcher

NOISE = np.random.default_rng(1).gamma(50, 0.02, 2000)
TIMES = ServiceTimes(
    (KindTimes(np.array([1.0, 8.0]), np.array([0.004, 0.010]), NOISE),), 0.001, math.inf, 0.0
)
BATCHER, ONE = Batcher(max_batch=8), Demand((1.0,), (1,))


def measured(rate: float, scale: float, share: float = 0.99, seed: int = 5) -> Measurement:
    """What a server whose service times are so many times those of `TIMES` would show at a rate."""
    due, kinds = ONE.arrivals(rate, 2500, seed), ONE.kinds(2500, seed)
    latency, _, _ = served(Replica(BATCHER, TIMES, ONE).scaled(scale), due, kinds, seed=seed)
    return Measurement(
        f"{rate:g}/s", BATCHER, ONE, rate, due, kinds, share, float(np.quantile(latency, share))
    )


def test_times_that_are_all_too_short_are_corrected() -> None:
    found = trust(TIMES, [measured(rate, 1.15) for rate in (100, 300, 450, 550)])
    assert found.scale == pytest.approx(1.15, rel=0.03)
    assert 1.0 < found.factor < 1.15


def test_the_more_the_moments_differ_the_wider_it_is() -> None:
    random = np.random.default_rng(3)

    def at(deviation: float) -> float:
        scales = np.exp(deviation * random.standard_normal(8))
        rates = np.linspace(200, 600, 8)
        return trust(TIMES, [measured(r, s) for r, s in zip(rates, scales, strict=True)]).deviation

    assert at(0.1) > 2 * at(0.01)


def test_nineteen_of_twenty_measurements_lie_where_the_others_say() -> None:
    random, held, of = np.random.default_rng(4), 0, 0
    for number in range(5):
        scales = np.exp(0.05 * random.standard_normal(6))
        rates = (120.0, 250.0, 350.0, 450.0, 520.0, 580.0)
        made = [measured(r, s, 0.9, number) for r, s in zip(rates, scales, strict=True)]
        checks = trust(TIMES, made).checks
        held, of = held + sum(each.held for each in checks), of + len(checks)
    assert of == 30 and held >= 25, f"{held} of {of}"


def test_more_measurements_narrow_it() -> None:
    found = trust(TIMES, [measured(rate, scale) for rate, scale in ((200, 0.97), (350, 1.02), (500, 1.0))])
    assert found.after(0) == found.factor > found.after(5) > found.after(500) > 1


def test_a_configuration_is_corrected_by_its_own_rates_where_there_are_enough() -> None:
    own = [measured(rate, 1.0) for rate in np.linspace(150, 500, ENOUGH)]
    two = Batcher(max_batch=8, instances=2)
    others = [replace(measured(rate, 1.3), batcher=two) for rate in (200, 400, 500)]
    assert measured_like(BATCHER, [*own, *others]) == own
    assert measured_like(two, [*own, *others]) == [*own, *others], "three alone would say too little"
    assert measured_like(BATCHER, [*own[1:], *others]) == [*own[1:], *others]
    assert trust(TIMES, measured_like(BATCHER, [*own, *others])).scale == pytest.approx(1.0, rel=0.03)


def test_too_few_rates_are_no_answer() -> None:
    with pytest.raises(Unknown, match="measured at 2 rates; how far a prediction is right takes 3"):
        trust(TIMES, [measured(200, 1.0), measured(400, 1.0)])
    with pytest.raises(Unknown, match="measured at 0 rates"):
        trust(TIMES, [])


def test_a_server_that_is_another_one_is_no_answer() -> None:
    far = [replace(measured(rate, 1.0), latency_s=5.0) for rate in (10, 20, 30)]
    with pytest.raises(Unknown, match="at 3 of them the simulation can't give it"):
        trust(TIMES, far)


def test_where_something_becomes_true_is_found() -> None:
    assert crossing(lambda x: x > 1.2, 0.5, 2.0) == pytest.approx(1.2, rel=0.005)
    assert crossing(lambda x: x > 0.1, 0.5, 2.0) is None and crossing(lambda x: x > 3, 0.5, 2.0) is None
    assert math.isclose(crossing(lambda x: x >= 1.0, 0.5, 2.0) or 0, 1.0, rel_tol=0.01)
