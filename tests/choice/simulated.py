"""Runs of a queue that is simulated, judged as those that are measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.analysis import objective
from harness.analysis.latency import rate, summarize
from harness.analysis.quantile import quantiles
from harness.schema.expansion import expand
from harness.schema.point import Point
from harness.schema.result import PointResult
from harness.schema.scenario import Scenario
from tests.report import factory

SECONDS = 20.0


def measured(scenario: Scenario, service_s: Mapping[int, float], seed: int) -> tuple[PointResult, ...]:
    """Every point of a scenario of closed loops: one server, exponential service, its mean by `max_batch`."""
    rng = np.random.default_rng(seed)
    return tuple(_point(point, service_s[point.server.max_batch or 0], rng) for point in expand(scenario))


def _point(point: Point, mean_s: float, rng: np.random.Generator) -> PointResult:
    users = point.load.shape.users or 1
    completed_s = np.cumsum(rng.exponential(mean_s, int(1.3 * SECONDS / mean_s) + 100))
    sent_s = np.concatenate([np.zeros(users), completed_s[:-users]])
    inside = completed_s < SECONDS
    latency_s = (completed_s - sent_s)[inside]
    throughput, interval = rate(completed_s[inside], SECONDS)
    checks = objective.check(
        point.objective,
        within=quantiles(latency_s),
        largest_s=float(latency_s.max()),
        requests=latency_s.size,
        errors=0,
        throughput=throughput,
        throughput_interval=interval,
    )
    made = factory.point_result(point, verdict="valid", gpu=False)
    return made.model_copy(
        update={
            "throughput_requests_per_s": throughput,
            "throughput_inferences_per_s": throughput,
            "throughput_interval_95": interval,
            "latency_s": summarize(latency_s),
            "objective": checks,
        }
    )
