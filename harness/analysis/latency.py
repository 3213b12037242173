"""Percentiles, means and rates with 95% intervals that allow for autocorrelation.

Latencies of one server are correlated in time (a full queue delays a whole run of requests), so the textbook
interval, which takes requests as independent, is too narrow. Here the variance of a mean is estimated from
batch means (Law & Kelton, Simulation Modeling and Analysis, ch. 9), and a percentile's from the batch means
of the indicator `x <= percentile` (Heidelberger & Lewis, Operations Research 32, 1984): an interval for the
share below, turned back into order statistics.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.schema.result import Interval, Latency

Seconds = npt.NDArray[np.float64]

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
BATCHES = 30
"""Batches for batch means: as many as let one batch stay longer than the correlation."""

T_95 = 2.045
"""Student's t, 97.5% quantile, BATCHES - 1 = 29 degrees of freedom."""


def requests_needed(share: float) -> int:
    """Fewest independent requests that can support the percentile `share`: its interval's upper end must
    be an order statistic that exists. 381 for p99, 73 for p95."""
    return math.floor(1.96**2 * share / (1 - share)) + 1


def summarize(latency_s: Seconds) -> Latency:
    """Figures of latencies in seconds, given in the order the requests were due.

    A percentile whose interval reaches past the largest sample is None: the sample can't support it.
    """
    if latency_s.size == 0:
        return Latency(p50=None, p90=None, p95=None, p99=None, mean=None, min=None, max=None, interval_95={})
    ordered = np.sort(latency_s)
    figures: dict[str, Any] = {}
    intervals: dict[str, Interval] = {}
    for name, share in PERCENTILES.items():
        value, interval = percentile(latency_s, ordered, share)
        figures[name] = value
        if interval is not None:
            intervals[name] = interval
    mean_interval = _mean_interval(latency_s)
    if mean_interval is not None:
        intervals["mean"] = mean_interval
    return Latency(
        **figures,
        mean=float(latency_s.mean()),
        min=float(ordered[0]),
        max=float(ordered[-1]),
        interval_95=intervals,
    )


def percentile(in_order: Seconds, ordered: Seconds, share: float) -> tuple[float | None, Interval | None]:
    """The value under which `share` of the sample lies, and its 95% interval; (None, None) if unsupported.

    `in_order` is the sample in time order, `ordered` the same sorted.
    """
    n = ordered.size
    value = ordered[min(n - 1, math.ceil(share * n) - 1)]
    half = _half_width(in_order <= value, at_least=share * (1 - share))
    low, high = share - half, share + half
    if low <= 0 or high >= 1 or math.ceil(high * n) > n:
        return None, None
    return float(value), (
        float(ordered[max(0, math.floor(low * n) - 1)]),
        float(ordered[min(n - 1, math.ceil(high * n) - 1)]),
    )


def rate(completed_s: Seconds, seconds: float) -> tuple[float, Interval | None]:
    """Events a second over [0, seconds), and its 95% interval from the counts of equal slices of time."""
    inside = completed_s[(completed_s >= 0) & (completed_s < seconds)]
    per_second = inside.size / seconds
    if inside.size < 2 * BATCHES:
        return per_second, None
    counts = np.histogram(inside, bins=BATCHES, range=(0.0, seconds))[0] * (BATCHES / seconds)
    half = T_95 * counts.std(ddof=1) / math.sqrt(BATCHES)
    return per_second, (max(0.0, per_second - float(half)), per_second + float(half))


def _mean_interval(values: Seconds) -> Interval | None:
    if values.size < 2 * BATCHES:
        return None
    half = _half_width(values, at_least=0.0)
    mean = float(values.mean())
    return (max(0.0, mean - half), mean + half)


def _half_width(values: npt.NDArray[np.float64] | npt.NDArray[np.bool_], *, at_least: float) -> float:
    """Half of the 95% interval of the mean of `values`; the variance of one value is at least `at_least`."""
    n = values.size
    independent = 1.96 * math.sqrt(at_least / n)
    if n < 2 * BATCHES:
        return independent
    # All of the sample, in batches that differ by one at most: what a remainder hid would count as steady.
    edges = np.arange(BATCHES + 1) * n // BATCHES
    means = np.add.reduceat(values.astype(np.float64), edges[:-1]) / np.diff(edges)
    batched = T_95 * float(means.std(ddof=1)) / math.sqrt(BATCHES)
    return max(independent, batched)
