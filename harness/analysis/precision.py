"""Is what was measured so far precise enough to stop?

Who stops at the first look at which an interval is narrow stops where it is narrow by luck, and covers the
truth less often. An M/M/1 queue at utilization 0.5, looked at again each 25% of length, its p99 at the first
look within ±10%: 89% instead of 95%. Within ±5%, which takes more bursts to be seen, 94%. So how wide the
interval may be doesn't matter so much as how few bursts it rests on, and a percentile must rest on
`INDEPENDENT` requests beyond it, whatever width is asked for: 93 to 94% then for ±5, 10 and 30% (lognormal
AR(1): 96%; M/M/1 at utilization 0.8, ±20%: 92%).

A mean feels the whole of a long excursion, and luck lasts: at utilization 0.8, within ±30%, 83%. Its first
two thirds must therefore be narrow too, and worth `INDEPENDENT_FOR_MEAN` requests, so that a third of the
sample has had no part in the choice: 94%. Throughput needs nothing of the kind: 94 to 96%.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from harness.analysis import steady
from harness.analysis.latency import interval_of_mean, rate
from harness.analysis.quantile import Quantile, Seconds, quantiles
from harness.schema import percentiles
from harness.schema.percentiles import PERCENTILES
from harness.schema.point import Point
from harness.schema.result import Interval
from harness.schema.samples import Measured

Times = npt.NDArray[np.int64]

INDEPENDENT = 25
"""Independent requests beyond a percentile (before it, for one under the median) that its interval must be
worth: half the interval of their share is then 2 / √25 of it."""

INDEPENDENT_FOR_MEAN = 400
"""Independent requests that the mean of the first two thirds must be worth."""


def enough(point: Point, measured: Measured) -> bool:
    """Whether the figures that `point.measure.precision` names have intervals as narrow as it asks; where it
    names none, whether the sample supports a p99.

    `measured` is what was recorded so far, in the order the requests were due. Pure, and about as costly as
    one sort of the latencies. False while no request has succeeded.
    """
    ok = measured.ok
    if not ok.any():
        return False
    precision = point.measure.precision
    if precision is not None and precision.throughput is not None:
        first_ns = int(measured.intended_ns[0])
        seconds = (int(measured.sent_ns.max()) - first_ns) / 1e9
        completed_s = _seconds(measured.completed_ns, first_ns, ok)
        if seconds <= 0 or not _narrow(rate(completed_s, seconds)[1], precision.throughput):
            return False
        del completed_s  # each array is as large as a tenth of what 10 million requests may take
    latency_s = _seconds(measured.completed_ns, measured.intended_ns, ok)
    if point.load.steady_by_design:
        due_s = _seconds(measured.intended_ns, int(measured.intended_ns[0]), ok)
        latency_s = latency_s[steady.find(latency_s, due_s).skipped_requests :]
        del due_s
    found = quantiles(latency_s)
    if precision is None:
        return found["p99"].interval is not None
    for name in PERCENTILES:
        wanted, share = getattr(precision, name), percentiles.share(name)
        if wanted is not None and not _percentile_known(found[name], share, wanted):
            return False
    return precision.mean is None or _mean_known(latency_s, precision.mean)


def _percentile_known(found: Quantile, share: float, wanted: float) -> bool:
    if not _narrow(found.interval, wanted, found.value):
        return False
    return found.half_width <= 2 / math.sqrt(INDEPENDENT) * min(share, 1 - share)


def _mean_known(in_order: Seconds, wanted: float) -> bool:
    early = in_order[: 2 * in_order.size // 3]
    interval = interval_of_mean(early)
    if interval is None or not _narrow(interval, wanted):
        return False
    error = (interval[1] - interval[0]) / 2 / 1.96
    independent = float(early.var()) / INDEPENDENT_FOR_MEAN
    return error**2 <= independent and _narrow(interval_of_mean(in_order), wanted)


def _narrow(interval: Interval | None, wanted: float, value: float | None = None) -> bool:
    """Whether half the interval is at most that share of its value, which is its middle if not given."""
    if interval is None:
        return False
    low, high = interval
    return (high - low) / 2 <= wanted * ((low + high) / 2 if value is None else value)


def _seconds(ends_ns: Times, starts_ns: Times | int, keep: npt.NDArray[np.bool_]) -> Seconds:
    seconds = np.empty(ends_ns.size, dtype=np.float64)
    np.subtract(ends_ns, starts_ns, out=seconds)
    seconds /= 1e9
    return seconds if keep.all() else seconds[keep]
