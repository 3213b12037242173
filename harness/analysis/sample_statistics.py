"""What pytest-benchmark tells of a sample of times."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.schema.samples import Measured

FEWEST = 2
"""One time has no deviation."""


class SampleStatistics(NamedTuple):
    """Of times in seconds. The names and rules are those of pytest-benchmark's `Stats`, but that a quartile
    or a median is always one of the times (as in harness's percentiles), and never lies between two."""

    min: float
    max: float
    mean: float
    stddev: float
    median: float
    q1: float
    q3: float
    rounds: int
    """How many times there are."""
    total: float
    iqr_outliers: int
    """Beyond 1.5 times the interquartile range from the quartiles (Tukey)."""
    stddev_outliers: int
    """Further from the mean than a standard deviation."""
    ld15iqr: float
    """The lowest time that is no outlier of the first kind."""
    hd15iqr: float
    """The highest."""

    @property
    def iqr(self) -> float:
        return self.q3 - self.q1


def statistics_of(seconds: npt.NDArray[np.float64]) -> SampleStatistics | None:
    """None of fewer than two times. Sorts `seconds` in place: there may be ten million."""
    if seconds.size < FEWEST:
        return None
    seconds.sort()
    q1, median, q3 = (float(seconds[math.ceil(share * seconds.size) - 1]) for share in (0.25, 0.5, 0.75))
    mean, stddev = float(seconds.mean()), float(seconds.std(ddof=1))
    reach = 1.5 * (q3 - q1)
    low, high = np.searchsorted(seconds, q1 - reach), np.searchsorted(seconds, q3 + reach, side="right")
    below, above = (
        np.searchsorted(seconds, mean - stddev),
        np.searchsorted(seconds, mean + stddev, side="right"),
    )
    return SampleStatistics(
        min=float(seconds[0]),
        max=float(seconds[-1]),
        mean=mean,
        stddev=stddev,
        median=median,
        q1=q1,
        q3=q3,
        rounds=seconds.size,
        total=float(seconds.sum()),
        iqr_outliers=int(seconds.size - (high - low)),
        stddev_outliers=int(seconds.size - (above - below)),
        ld15iqr=float(seconds[low]),
        hd15iqr=float(seconds[high - 1]),
    )


def latency_statistics(measured: Measured, counted: slice) -> SampleStatistics | None:
    """Of the latencies of those successes that count (`SteadyState.counted`)."""
    ok = measured.ok
    latency_s = (measured.completed_ns[ok] - measured.intended_ns[ok])[counted] / 1e9
    return statistics_of(latency_s)
