"""Where a figure over time changed its level, such as that of one night after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Floats = npt.NDArray[np.float64]

FEWEST = 8
"""Values that a series has before any change of it is named."""

SHORTEST = 3
"""Values in a row that make a level."""

FARTHEST = 4.0
"""Deviations from the median of its neighbours that a value counts with at most: however far a single night
is off, it makes no level."""

LEAST_DEVIATION = 1e-4
"""Of the logarithms: where figures are the same every night, a change of 0.01% is no news."""


class Level(NamedTuple):
    """Values in a row that belong together: those from `first` up to, and without, `end`."""

    first: int
    end: int
    value: float
    """Their geometric mean."""


def levels(values: Sequence[float]) -> tuple[Level, ...]:
    """The levels of a series, the earliest first: a change lies where one ends and the next begins.

    PELT (Killick, Fearnhead and Eckley 2012) by `ruptures`, on logarithms with a quadratic cost. The
    deviation is that of differences between neighbours (von Neumann 1941), which a few steps hardly change. A
    further level must save 16 + 3 ln(n) of its squares: by simulation (tests/analysis/test_change_points.py)
    a series of 8 to 365 values that don't depend on each other has a second level at most once in 200
    where nothing changed. A series with fewer than `FEWEST` values, or with one that isn't above 0, has no
    level.
    """
    if len(values) < FEWEST or min(values) <= 0:
        return ()
    import ruptures  # brings scipy.stats, which takes a second

    logs = _without_outliers(np.log(np.asarray(values, dtype=np.float64))).reshape(-1, 1)
    deviation = max(math.sqrt(float(np.mean(np.diff(logs, axis=0) ** 2)) / 2), LEAST_DEVIATION)
    penalty = (16 + 3 * math.log(len(values))) * deviation**2
    search = ruptures.KernelCPD(kernel="linear", min_size=SHORTEST, jump=1)
    ends = search.fit(logs).predict(pen=penalty)
    return tuple(
        Level(low, high, math.exp(float(logs[low:high].mean()))) for low, high in pairwise([0, *ends])
    )


def _without_outliers(logs: Floats) -> Floats:
    """What is too far from the median of five neighbours is drawn near. A step stays one: on either side of
    it, most neighbours are of that side."""
    usual = np.median(sliding_window_view(np.pad(logs, 2, mode="reflect"), 5), axis=1)
    deviation = max(float(np.median(np.abs(np.diff(logs)))) / 0.954, LEAST_DEVIATION)
    return np.clip(logs, usual - FARTHEST * deviation, usual + FARTHEST * deviation)
