"""Which single requests to draw of millions: nothing an eye would see at full density goes missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.schema.samples import Measured, Status

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]

MOST_DOTS = 2000
"""The most requests that are drawn of one point."""


@dataclass(frozen=True, slots=True)
class Dots:
    """Single requests, in the order of their intended send. All arrays have one entry a request drawn."""

    time_s: Floats
    """Intended send, from the start of the measured phase; negative in the warm-up."""
    latency_s: Floats
    """Time from the intended send to the last byte; for an error, to when the failure was seen."""
    request_class: npt.NDArray[np.int64]
    """Index into `PointSeries.classes`."""
    error: Mask
    warmup: Mask
    of: int
    """How many requests these stand for."""


def dots_of(warmup: Measured, measured: Measured, start_ns: int) -> Dots:
    """At most `MOST_DOTS` requests of both phases, without an array of times of all of them."""
    of = warmup.size + measured.size
    early = _chosen_of(warmup, MOST_DOTS * warmup.size // max(of, 1))
    late = _chosen_of(measured, MOST_DOTS - early.size)

    def both(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(warmup, name)[early], getattr(measured, name)[late]])

    due_ns = both("intended_ns")
    return Dots(
        time_s=(due_ns - start_ns) / 1e9,
        latency_s=(both("completed_ns") - due_ns) / 1e9,
        request_class=both("request_class").astype(np.int64),
        error=both("status") != Status.OK,
        warmup=np.arange(due_ns.size) < early.size,
        of=of,
    )


def thinned(dots: Dots, most: int) -> Dots:
    """The same with at most `most` requests."""
    chosen = _chosen(
        ~dots.error,
        spans=lambda count: _spans(dots.time_s, count),
        value=lambda part: dots.latency_s[part],
        most=most,
    )
    return replace(
        dots,
        time_s=dots.time_s[chosen],
        latency_s=dots.latency_s[chosen],
        request_class=dots.request_class[chosen],
        error=dots.error[chosen],
        warmup=dots.warmup[chosen],
    )


def _chosen_of(phase: Measured, most: int) -> Index:
    return _chosen(
        phase.ok,
        spans=lambda count: _spans(phase.intended_ns, count),
        value=lambda part: phase.completed_ns[part] - phase.intended_ns[part],
        most=most,
    )


def _chosen(
    ok: Mask,
    *,
    spans: Callable[[int], Index],
    value: Callable[[slice], npt.NDArray[Any]],
    most: int,
) -> Index:
    """Indices of at most `most` requests: a fifth for errors, the fastest and slowest success of each of many
    equal spans of time, and an even sample of the rest.

    `spans(count)`: where each of `count` equal spans of time begins, and the end. `value(part)`: what is
    drawn, of some requests next to each other.
    """
    if ok.size <= most:
        return np.arange(ok.size)
    good = int(np.count_nonzero(ok))
    failed = _even(np.flatnonzero(~ok), max(most // 5, most - good))
    room = most - failed.size
    extremes = _extremes(ok, spans(room // 4), value) if good and room >= 4 else np.empty(0, dtype=np.intp)
    rest = ok.copy()
    rest[extremes] = False
    even = _even(np.flatnonzero(rest), room - extremes.size)
    return np.sort(np.concatenate([failed, extremes, even]))


def _even(index: Index, most: int) -> Index:
    if index.size <= most:
        return index
    return index[np.linspace(0, index.size - 1, max(most, 0)).astype(np.intp)]


def _spans(time: npt.NDArray[Any], count: int) -> Index:
    """Where each of `count` equal spans of ascending `time` begins, and the end; empty ones left out."""
    inner = np.linspace(float(time[0]), float(time[-1]), count + 1)[1:-1]
    edges = np.searchsorted(time, inner.astype(time.dtype))  # of one type, or all of `time` is converted
    return np.unique(np.concatenate([[0], edges, [time.size]]))


def _extremes(ok: Mask, spans: Index, value: Callable[[slice], npt.NDArray[Any]]) -> Index:
    """The success with the smallest and the one with the largest value of each span."""
    found: list[int] = []
    for low, high in pairwise(spans.tolist()):
        good = np.flatnonzero(ok[low:high])
        if good.size:
            seen = value(slice(low, high))[good]
            found += [low + int(good[seen.argmin()]), low + int(good[seen.argmax()])]
    return np.unique(np.array(found, dtype=np.intp))
