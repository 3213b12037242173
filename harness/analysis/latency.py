"""Percentiles, means and rates with 95% intervals that allow for autocorrelation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.analysis.batches import BATCHES, CELLS, Cells, spread
from harness.analysis.quantile import Quantile, Seconds, quantiles
from harness.schema.percentiles import PERCENTILES
from harness.schema.result import Interval, Latency


def summarize(
    latency_s: Seconds, *, seconds: float | None = None, found: Mapping[str, Quantile] | None = None
) -> Latency:
    """Figures of latencies in seconds, given in the order the requests were due, within `seconds`; `found`
    are their `quantiles`, where a caller has them.

    A percentile that the sample can't support is None: `unsupported` says why, and `sample`, `at_least` and
    `more_s`, the last where `seconds` is given, what can be said of it.
    """
    found = quantiles(latency_s) if found is None else found
    known = {name: one for name, one in found.items() if one.interval is not None}
    open_ = {name: one for name, one in found.items() if one.interval is None}
    intervals = {name: one.interval for name, one in known.items() if one.interval is not None}
    empty = latency_s.size == 0
    if not empty and (mean_interval := interval_of_mean(latency_s)) is not None:
        intervals["mean"] = mean_interval
    return Latency(
        **{name: known[name].value if name in known else None for name in PERCENTILES},
        mean=None if empty else float(latency_s.mean()),
        min=None if empty else float(latency_s.min()),
        max=None if empty else float(latency_s.max()),
        interval_95=intervals,
        unsupported={name: one.why for name, one in open_.items()}
        or (dict.fromkeys(PERCENTILES, "no request succeeded") if empty else {}),
        sample={name: one.value for name, one in open_.items()},
        at_least={name: one.at_least for name, one in open_.items() if one.at_least is not None},
        more_s={name: seconds * (one.needed / latency_s.size - 1) for name, one in open_.items()}
        if seconds
        else {},
    )


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
