"""Readings that were taken at their own pace, against the measured window.

A series is (time in ns, value) in order of time, of the readings that have the value. What a function can't
tell of the window is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np

from harness.schema.samples import Window


class Timed(Protocol):
    """A reading, of whatever, with the time at which it was taken."""

    @property
    def at_ns(self) -> int: ...


R = TypeVar("R", bound=Timed)
Number = TypeVar("Number", int, float)

Series = Sequence[tuple[int, Number]]


def series(readings: Iterable[Timed], field: str) -> list[tuple[int, float]]:
    """One field of the readings that have it."""
    return [(r.at_ns, value) for r in readings if (value := getattr(r, field)) is not None]


def inside(readings: Iterable[R], window: Window) -> list[R]:
    return [r for r in readings if window.start_ns <= r.at_ns <= window.end_ns]


def covers(values: Series[float], window: Window) -> bool:
    """Whether there is a value on both sides of the window."""
    return bool(values) and values[0][0] <= window.start_ns and values[-1][0] >= window.end_ns


def growth(totals: Series[float], window: Window) -> float | None:
    """How much a counter grew over the window, read off at its two edges by linear interpolation.

    None where it was not read on both sides of the window, or fell, as a counter does that starts anew.
    """
    if not covers(totals, window):
        return None
    # times from the window's start: as floats of nanoseconds since boot they would lose their last digits
    at_s = np.array([at_ns - window.start_ns for at_ns, _ in totals]) / 1e9
    total = np.array([total for _, total in totals])
    first = int(np.searchsorted(at_s, 0.0, side="right")) - 1
    last = int(np.searchsorted(at_s, window.seconds, side="left"))
    if np.any(np.diff(total[first : last + 1]) < 0):
        return None
    start, end = np.interp([0.0, window.seconds], at_s, total)
    return float(end - start)


def counted(totals: Series[int], window: Window, *, slack_s: float) -> int | None:
    """How much a count of rare events grew from the last reading before the window to the first after it,
    or to the last there is where that came no more than `slack_s` before the window's end.

    None where it wasn't read so, or fell. What happened just outside the window may count; no half events do.
    """
    before = [i for i, (at_ns, _) in enumerate(totals) if at_ns <= window.start_ns]
    late_ns = window.end_ns - slack_s * 1e9
    if not before or totals[-1][0] <= window.start_ns or totals[-1][0] < late_ns:
        return None
    after = next((i for i, (at_ns, _) in enumerate(totals) if at_ns >= window.end_ns), len(totals) - 1)
    around = [total for _, total in totals[before[-1] : after + 1]]
    if any(b < a for a, b in pairwise(around)):
        return None
    return around[-1] - around[0]


def integral(levels: Series[float], window: Window, *, gap_s: float) -> float | None:
    """A level over time by trapezoids, clipped to the window.

    None where two readings in it are further apart than `gap_s`, or it isn't covered on both sides.
    """
    if not covers(levels, window):
        return None
    at_s = np.array([at_ns - window.start_ns for at_ns, _ in levels]) / 1e9
    level = np.array([level for _, level in levels])
    within = (at_s > 0) & (at_s < window.seconds)
    edges = np.interp([0.0, window.seconds], at_s, level)
    first = max(int(np.searchsorted(at_s, 0.0, side="right")) - 1, 0)
    last = int(np.searchsorted(at_s, window.seconds, side="left"))
    if np.any(np.diff(at_s[first : last + 1]) > gap_s):
        return None
    times = np.concatenate([[0.0], at_s[within], [window.seconds]])
    values = np.concatenate([edges[:1], level[within], edges[1:]])
    return float(np.trapezoid(values, times))


def spans(values: Series[float], window: Window) -> list[tuple[float, float]]:
    """(seconds of the window, value) of values that are means over the time since the value before."""
    overlapping = (
        (min(end_ns, window.end_ns) - max(start_ns, window.start_ns), value)
        for (start_ns, _), (end_ns, value) in pairwise(values)
    )
    return [(ns / 1e9, value) for ns, value in overlapping if ns > 0]


def watched_s(readings: Sequence[Timed], window: Window, *, gap_s: float) -> float:
    """Seconds of the window that lie between two readings no further apart than `gap_s`."""
    overlapping = (
        min(b.at_ns, window.end_ns) - max(a.at_ns, window.start_ns)
        for a, b in pairwise(readings)
        if b.at_ns - a.at_ns <= gap_s * 1e9
    )
    return sum(max(ns, 0) for ns in overlapping) / 1e9


def mean(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def largest(values: Iterable[Number | None]) -> Number | None:
    return max((v for v in values if v is not None), default=None)


def per(total: float | None, count: float) -> float | None:
    return total / count if total is not None and count > 0 else None
