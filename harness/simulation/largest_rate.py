"""The largest rate that holds, found by halving between one that does and one that doesn't."""

from __future__ import annotations

import math
from collections.abc import Callable

STEP = 1.06
"""From a rate that may be near, the first step to its neighbour; each further one is the square of the one
before."""


def largest_rate(
    holds: Callable[[float], bool], least: float, most: float, *, close: float, near: float | None = None
) -> tuple[float, float] | None:
    """A rate that holds and one that doesn't, at most `close` times as large.

    None where `least` doesn't hold. `most` isn't tried: it is taken not to hold. `near`: where the answer may
    be, which saves trials.
    """
    low, high = _around(near, least, most, holds) if near and least < near < most else (least, most)
    if low == least and not holds(low):
        return None
    while high / low > close:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high


def _around(near: float, least: float, most: float, holds: Callable[[float], bool]) -> tuple[float, float]:
    """A rate that holds, unless it is the least one, and one that doesn't."""
    step = STEP
    if holds(near):
        low = near
        while (higher := low * step) < most:
            if not holds(higher):
                return low, higher
            low, step = higher, step**2
        return low, most
    high = near
    while (lower := high / step) > least:
        if holds(lower):
            return lower, high
        high, step = lower, step**2
    return least, high
