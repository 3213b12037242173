"""Measured figures beside true ones: within 3% of the truth, or the truth within the 95% interval."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from harness.schema.calibration import FigureCheck
from harness.schema.result import Interval, PointResult

WITHIN = 0.03

SHARES = {"p50": 0.50, "p99": 0.99, "p999": 0.999}
"""The percentiles that are compared."""

THROUGHPUT = "throughput"


def compared(
    result: PointResult, truth: Mapping[str, float], without_wire: Mapping[str, float]
) -> tuple[FigureCheck, ...]:
    """Every figure of `truth` (a percentile's name or "throughput") beside what `result` says of it.

    `without_wire` has the same figures of the queue alone."""
    return tuple(_check(result, name, value, without_wire[name]) for name, value in truth.items())


def measured(result: PointResult, name: str) -> tuple[float | None, Interval | None]:
    """A figure of a result by name, and its interval."""
    if name == THROUGHPUT:
        return result.throughput_requests_per_s, result.throughput_interval_95
    return getattr(result.latency_s, name), result.latency_s.interval_95.get(name)


def quantile(values: npt.NDArray[np.float64], share: float) -> float:
    """The smallest value that at least `share` of the values don't exceed, as harness's percentiles are."""
    return float(np.sort(values)[min(values.size, math.ceil(share * values.size)) - 1])


def _check(result: PointResult, name: str, truth: float, without_wire: float) -> FigureCheck:
    value, interval = measured(result, name)
    if value is None:
        why = (
            result.latency_s.unsupported.get(name)
            or "; ".join(result.reasons)
            or "the sample can't support it"
        )
        return FigureCheck(
            name=name,
            measured=None,
            interval_95=None,
            truth=truth,
            truth_without_wire=without_wire,
            error=None,
            passed=None,
            why=why,
        )
    error = (value - truth) / truth
    covered = interval is not None and interval[0] <= truth <= interval[1]
    return FigureCheck(
        name=name,
        measured=value,
        interval_95=interval,
        truth=truth,
        truth_without_wire=without_wire,
        error=error,
        passed=abs(error) <= WITHIN or covered,
    )
