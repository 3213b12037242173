"""The objective's percentiles, p99.9 among them."""

from __future__ import annotations

import numpy as np
import pytest

from harness.analysis import objective
from harness.analysis.latency import summarize
from harness.schema.scenario import Objective


@pytest.mark.parametrize(("limit_ms", "met"), [(20.0, True), (6.9, None), (2.0, False)])
def test_p999_is_met_missed_or_not_to_be_told(limit_ms: float, met: bool | None) -> None:
    latency = summarize(np.random.default_rng(1).exponential(0.001, 50_000))  # p99.9 is 6.9 ms
    (check,) = objective.check(
        Objective(p999_ms=limit_ms),
        latency=latency,
        requests=50_000,
        errors=0,
        throughput=None,
        throughput_interval=None,
    )
    assert (check.name, check.met) == ("p999_ms", met)
    assert check.observed == pytest.approx(6.9, rel=0.1)


def test_p999_of_too_few_requests_can_not_be_told() -> None:
    latency = summarize(np.random.default_rng(1).exponential(0.001, 1000))
    (check,) = objective.check(
        Objective(p999_ms=1000.0),
        latency=latency,
        requests=1000,
        errors=0,
        throughput=None,
        throughput_interval=None,
    )
    assert (check.observed, check.met) == (None, None)
