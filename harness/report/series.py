"""What the charts of one point need beyond its figures: the samples, thinned to what an eye tells apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from harness.schema.samples import GpuReading, HostReading, Phase, Requests, Status, Window

Floats = npt.NDArray[np.float64]

MOST_DOTS = 2000
"""Requests drawn of one point."""
MOST_QUANTILES = 500
MOST_READINGS = 300
"""Host or GPU readings drawn of one point, of each device."""


@dataclass(frozen=True, slots=True)
class Dots:
    """Single requests, by intended send. All arrays have one entry a request drawn."""

    time_s: Floats
    """Intended send, from the start of the measured phase; negative in the warm-up."""
    latency_s: Floats
    """From the intended send to the last byte; for an error, to when the failure was seen."""
    request_class: npt.NDArray[np.int64]
    """Index into `PointSeries.classes`."""
    error: npt.NDArray[np.bool_]
    warmup: npt.NDArray[np.bool_]
    of: int
    """How many requests these stand for."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """The empirical quantile curve of the successful requests of the measured phase."""

    share: Floats
    """Share of requests at or under the latency, ascending, within (0, 1)."""
    latency_s: Floats
    of: int
    """How many requests it is made of."""


@dataclass(frozen=True, slots=True)
class HostSeries:
    """The host over time. A core is a core-second a second; None where not observed."""

    time_s: tuple[float, ...]
    server_cores: tuple[float | None, ...]
    client_cores: tuple[float | None, ...]
    host_cores: tuple[float | None, ...]
    server_memory_bytes: tuple[float | None, ...]
    client_memory_bytes: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class GpuSeries:
    """One GPU over time; None where not observed."""

    device: int
    time_s: tuple[float, ...]
    utilization: tuple[float | None, ...]
    power_w: tuple[float | None, ...]
    memory_bytes: tuple[float | None, ...]
    sm_clock_hz: tuple[float | None, ...]
    memory_clock_hz: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class PointSeries:
    """One point over time. `host` or `gpu` is None where nothing was observed."""

    classes: tuple[str, ...]
    dots: Dots
    quantiles: Quantiles
    host: HostSeries | None
    gpu: tuple[GpuSeries, ...] | None


def series_of(
    requests: Requests,
    classes: Sequence[str],
    host: Sequence[HostReading],
    gpu: Sequence[GpuReading] | None,
    window: Window | None,
) -> PointSeries:
    """The series of one point, from all that was recorded of it.

    `requests`: every request, warm-up included, in any order. `classes`: the names that `request_class`
    indexes. `window`: the measured phase; without one, time counts from the first request.
    """
    due = requests["intended_ns"].astype(np.int64)
    start_ns = window.start_ns if window else int(due.min()) if due.size else 0
    latency_s = (requests["completed_ns"] - due) / 1e9
    error = requests["status"] != Status.OK
    warmup = requests["phase"] == Phase.WARMUP
    dots = Dots(
        time_s=(due - start_ns) / 1e9,
        latency_s=latency_s,
        request_class=requests["request_class"].astype(np.int64),
        error=error,
        warmup=warmup,
        of=due.size,
    )
    return PointSeries(
        classes=tuple(classes),
        dots=thinned(dots, MOST_DOTS),
        quantiles=_quantiles(latency_s[~error & ~warmup]),
        host=_host(host, start_ns),
        gpu=_gpus(gpu, start_ns),
    )


def thinned(dots: Dots, most: int) -> Dots:
    """At most `most` of `dots`: a fifth for errors, the fastest and slowest success of each of many equal
    spans of time, and an even sample of the rest. Nothing an eye would see at full density goes missing."""
    if dots.time_s.size <= most:
        return dots
    order = np.argsort(dots.time_s, kind="stable")
    failed = order[dots.error[order]]
    good = order[~dots.error[order]]
    kept = [_even(failed, max(most // 5, most - good.size))]
    room = most - kept[0].size
    extremes = _extremes(dots.time_s[good], dots.latency_s[good], spans=room // 4)
    rest = np.ones(good.size, dtype=np.bool_)
    rest[extremes] = False
    kept += [good[extremes], _even(good[rest], room - extremes.size)]
    chosen = np.concatenate(kept)
    chosen = chosen[np.argsort(dots.time_s[chosen], kind="stable")]
    return replace(
        dots,
        time_s=dots.time_s[chosen],
        latency_s=dots.latency_s[chosen],
        request_class=dots.request_class[chosen],
        error=dots.error[chosen],
        warmup=dots.warmup[chosen],
    )


def _even(index: npt.NDArray[np.intp], most: int) -> npt.NDArray[np.intp]:
    if index.size <= most:
        return index
    return index[np.linspace(0, index.size - 1, max(most, 0)).astype(np.intp)]


def _extremes(time_s: Floats, value: Floats, spans: int) -> npt.NDArray[np.intp]:
    """Indices of the smallest and the largest value in each of `spans` equal spans of ascending `time_s`."""
    if time_s.size == 0 or spans < 1:
        return np.empty(0, dtype=np.intp)
    edges = np.searchsorted(time_s, np.linspace(time_s[0], time_s[-1], spans + 1)[1:-1])
    bounds = np.unique(np.concatenate([[0], edges, [time_s.size]]))
    found = [
        [low + value[low:high].argmin(), low + value[low:high].argmax()] for low, high in pairwise(bounds)
    ]
    return np.unique(np.array(found, dtype=np.intp))


def _quantiles(latency_s: Floats) -> Quantiles:
    """Order statistics at shares evenly spaced in log(1 - share), where tails are read; the maximum is last.

    The i-th of n is drawn at (i - 1/2) / n, so that the maximum has a place on a logarithmic axis.
    """
    n = latency_s.size
    ordered = np.sort(latency_s)
    above = np.logspace(0, -np.log10(max(2 * n, 2)), MOST_QUANTILES)  # 1 - share, from 1 to 1 / 2n
    rank = np.unique(np.clip(np.ceil((1 - above) * n + 0.5), 1, max(n, 1)).astype(np.int64)) - 1
    rank = rank[:n]
    return Quantiles(share=(rank + 0.5) / max(n, 1), latency_s=ordered[rank], of=n)


def _host(readings: Sequence[HostReading], start_ns: int) -> HostSeries | None:
    """CPU totals become rates between two readings, placed at the later one. Totals allow for skipping
    readings without losing CPU time."""
    if len(readings) < 2:
        return None
    step = -(-(len(readings) - 1) // MOST_READINGS)
    pairs = list(pairwise(readings[::step]))

    def cores(of: Callable[[HostReading], float | None]) -> tuple[float | None, ...]:
        return tuple(_rate(of(a), of(b), (b.at_ns - a.at_ns) / 1e9) for a, b in pairs)

    return HostSeries(
        time_s=tuple((b.at_ns - start_ns) / 1e9 for _, b in pairs),
        server_cores=cores(lambda r: r.server_cpu_s),
        client_cores=cores(lambda r: r.client_cpu_s),
        host_cores=cores(lambda r: r.host_cpu_s),
        server_memory_bytes=tuple(b.server_memory_bytes for _, b in pairs),
        client_memory_bytes=tuple(b.client_memory_bytes for _, b in pairs),
    )


def _rate(before: float | None, after: float | None, seconds: float) -> float | None:
    """None too where a total fell: a process of the group ended, and its time went with it."""
    if before is None or after is None or seconds <= 0 or after < before:
        return None
    return (after - before) / seconds


def _gpus(readings: Sequence[GpuReading] | None, start_ns: int) -> tuple[GpuSeries, ...] | None:
    if not readings:
        return None
    devices = sorted({r.device for r in readings})
    return tuple(_gpu([r for r in readings if r.device == d], d, start_ns) for d in devices)


def _gpu(readings: Sequence[GpuReading], device: int, start_ns: int) -> GpuSeries:
    """Means of consecutive readings where there are more than an eye can tell apart."""
    step = -(-len(readings) // MOST_READINGS)
    blocks = [readings[i : i + step] for i in range(0, len(readings), step)]

    def means(of: Callable[[GpuReading], float | None]) -> tuple[float | None, ...]:
        return tuple(_mean([of(r) for r in block]) for block in blocks)

    return GpuSeries(
        device=device,
        time_s=tuple((block[len(block) // 2].at_ns - start_ns) / 1e9 for block in blocks),
        utilization=means(lambda r: r.utilization),
        power_w=means(lambda r: r.power_w),
        memory_bytes=means(lambda r: r.memory_bytes),
        sm_clock_hz=means(lambda r: r.sm_clock_hz),
        memory_clock_hz=means(lambda r: r.memory_clock_hz),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None
