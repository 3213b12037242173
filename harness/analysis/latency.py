"""Percentiles, means and rates with 95% intervals that allow for autocorrelation.

A percentile's interval comes from that of the share of requests at or below it (Heidelberger and Lewis,
Operations Research 32, 1984): the mean of an indicator, whose spread `harness.analysis.batches` finds, turned
back into order statistics. It is never narrower than for independent requests.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.analysis.batches import BATCHES, CELLS, Cells, spread
from harness.schema import percentiles
from harness.schema.percentiles import PERCENTILES
from harness.schema.result import Interval, Latency

Seconds = npt.NDArray[np.float64]

CENTRAL, FEWEST = 0.45, 100
"""A server that is a little faster and a little slower in turns, each for longer than the phase allows to
average, says nothing of the share of requests below its median. But that is in the middle 90% of the sample:
in 97 to 100 of 100 simulated runs with stretches of a tenth to a fifth of the phase
(`tests/analysis/test_latency.py`). From 100 requests on."""


def requests_needed(share: float) -> int:
    """Fewest independent requests that can support the percentile `share`: its interval's upper end must
    be an order statistic that exists. 73 for p95, 381 for p99, 3838 for p99.9."""
    return math.floor(1.96**2 * share / (1 - share)) + 1


def summarize(latency_s: Seconds) -> Latency:
    """Figures of latencies in seconds, given in the order the requests were due.

    A percentile whose interval reaches past the sample is None: the sample can't support it, and
    `unsupported` says why. Needs memory for one more array like `latency_s`, and for one of booleans.
    """
    figures: dict[str, Any] = {}
    intervals: dict[str, Interval] = {}
    unsupported: dict[str, str] = {}
    ordered = np.sort(latency_s)
    for name in PERCENTILES:
        figures[name], interval = percentile(latency_s, ordered, percentiles.share(name))
        if interval is None:
            unsupported[name] = _why(name, latency_s.size)
        else:
            intervals[name] = interval
    if ordered.size == 0:
        return Latency(**figures, mean=None, min=None, max=None, interval_95={}, unsupported=unsupported)
    mean_interval = interval_of_mean(latency_s)
    if mean_interval is not None:
        intervals["mean"] = mean_interval
    return Latency(
        **figures,
        mean=float(latency_s.mean()),
        min=float(ordered[0]),
        max=float(ordered[-1]),
        interval_95=intervals,
        unsupported=unsupported,
    )


def percentile(in_order: Seconds, ordered: Seconds, share: float) -> tuple[float | None, Interval | None]:
    """The value under which `share` of the sample lies, and its 95% interval; (None, None) if unsupported.

    `in_order` is the sample in time order, `ordered` the same sorted.
    """
    n = ordered.size
    if n == 0:
        return None, None
    value = ordered[min(n - 1, math.ceil(share * n) - 1)]
    half = share_half_width(in_order, float(value), share)
    if share == 0.5 and n >= FEWEST:
        half = min(half, CENTRAL)
    low, high = share - half, share + half
    if low <= 0 or high >= 1 or math.ceil(high * n) > n:
        return None, None
    return float(value), (
        float(ordered[max(0, math.floor(low * n) - 1)]),
        float(ordered[min(n - 1, math.ceil(high * n) - 1)]),
    )


def share_half_width(in_order: Seconds, value: float, share: float) -> float:
    """Half of the 95% interval of the share of requests at or below `value`, which is about `share`."""
    independent = share * (1 - share) / in_order.size
    found = spread(Cells.of(in_order <= value), independent=independent)
    textbook = 1.96 * math.sqrt(independent)
    return max(textbook, found.half_width) if found is not None else textbook


def interval_of_mean(values: Seconds) -> Interval | None:
    """95% interval of the mean of `values`, which are in time order; None for fewer than 8 of them."""
    if values.size < BATCHES[-1]:
        return None
    found = spread(Cells.of(values), independent=float(values.var()) / values.size)
    if found is None:
        return None
    mean = float(values.mean())
    below, above = found.below_and_above
    return (max(0.0, mean - below), mean + above)


def rate(completed_s: Seconds, seconds: float) -> tuple[float, Interval | None]:
    """Events a second over [0, seconds), and its 95% interval from the counts of equal slices of time.

    Half the interval is one event at least: where the first and the last one fall within their slices
    is chance.
    """
    count = int(np.count_nonzero((completed_s >= 0) & (completed_s < seconds)))
    per_second = count / seconds
    if count < 2 * BATCHES[-1]:
        return per_second, None
    slices = max(k for k in (CELLS, *BATCHES) if 2 * k <= count)
    counts = np.histogram(completed_s, bins=slices, range=(0.0, seconds))[0].astype(np.float64)
    found = spread(Cells(counts, np.full(slices, seconds / slices)), independent=count / seconds**2)
    if found is None:
        return per_second, None
    half = max(found.half_width, 1 / seconds)
    return per_second, (max(0.0, per_second - half), per_second + half)


def _why(name: str, n: int) -> str:
    """Why a sample of `n` doesn't support a percentile."""
    share, called = percentiles.share(name), percentiles.figure_title(name)
    needed = requests_needed(share)
    if n == 0:
        return "no request succeeded"
    if n < needed:
        return f"{n} requests; a {called} takes {needed} that are independent"
    if share > 0.5:
        return "the slow requests come in clusters: its interval reaches past the largest sample"
    return f"{n} requests, in clusters: its interval reaches past the sample"
