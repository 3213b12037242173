"""What the charts of one point need beyond its figures: the samples, thinned to what an eye tells apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from harness.report.page.dots import Dots, Floats, dots_of
from harness.schema.samples import GpuReading, HostReading, Measured, Window

MOST_QUANTILES = 500
MOST_READINGS = 300
"""The most readings that are drawn of one point's host, and of each GPU."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """The empirical quantile curve of the successful requests of the measured phase."""

    share: Floats
    """Share of requests at or under the latency, ascending, within (0, 1)."""
    latency_s: Floats
    of: int
    """How many requests it is made of."""

    def fewer(self, most: int) -> Quantiles:
        """The same with at most so many places, the ends among them."""
        if len(self.share) <= most:
            return self
        kept = np.unique(np.linspace(0, len(self.share) - 1, most).astype(np.int64))
        return Quantiles(self.share[kept], self.latency_s[kept], self.of)


@dataclass(frozen=True, slots=True)
class HostSeries:
    """The host over time. A core is a core-second a second; None where not observed."""

    time_s: tuple[float, ...]
    server_cores: tuple[float | None, ...]
    client_cores: tuple[float | None, ...]
    host_cores: tuple[float | None, ...]
    foreign_cores: tuple[float | None, ...]
    """Cores that processes used which are neither server nor load generator nor harness."""
    stolen_cores: tuple[float | None, ...]
    """Cores that the hypervisor gave to others."""
    server_memory_bytes: tuple[float | None, ...]
    client_memory_bytes: tuple[float | None, ...]


GPU_LEVELS = (
    "utilization",
    "sm_activity",
    "tensor_activity",
    "dram_activity",
    "power_w",
    "memory_bytes",
    "sm_clock_hz",
)
"""What is drawn of a GPU over time, by the readings' names."""


@dataclass(frozen=True, slots=True)
class GpuSeries:
    """One GPU, or one MIG device, over time; None where not observed."""

    device: int
    mig_instance: int | None
    time_s: tuple[float, ...]
    levels: dict[str, tuple[float | None, ...]]
    """Those of GPU_LEVELS that were observed, as long as `time_s` each."""


@dataclass(frozen=True, slots=True)
class PointSeries:
    """One point over time. `host` or `gpu` is None where nothing was observed."""

    classes: tuple[str, ...]
    dots: Dots
    quantiles: Quantiles
    host: HostSeries | None
    gpu: tuple[GpuSeries, ...] | None


def series_of(
    warmup: Measured,
    measured: Measured,
    classes: Sequence[str],
    host: Sequence[HostReading],
    gpu: Sequence[GpuReading] | None,
    window: Window | None,
    *,
    counted: slice = slice(None),
) -> PointSeries:
    """The series of one point, from all that was recorded of it.

    `warmup` and `measured`: the requests of the two phases, each in the order they were due. `classes`: the
    names that `request_class` indexes. `window`: the measured phase; without one, time counts from the first
    request. `counted`: the successes of the measured phase that the latency figures are of, and so the
    quantile curve.
    """
    first = next((int(p.intended_ns[0]) for p in (warmup, measured) if p.size), 0)
    start_ns = window.start_ns if window else first
    return PointSeries(
        classes=tuple(classes),
        dots=dots_of(warmup, measured, start_ns),
        quantiles=_quantiles(measured, counted),
        host=_host(host, start_ns),
        gpu=_gpus(gpu, start_ns),
    )


def _quantiles(measured: Measured, counted: slice) -> Quantiles:
    """Order statistics at shares evenly spaced in log(1 - share), where tails are read; the maximum is last.

    The i-th of n is drawn at (i - 1/2) / n, so that the maximum has a place on a logarithmic axis.
    """
    took_ns = measured.completed_ns - measured.intended_ns
    ordered = took_ns[measured.ok][counted]
    del took_ns
    ordered.sort()
    n = ordered.size
    above = np.logspace(0, -np.log10(max(2 * n, 2)), MOST_QUANTILES)  # 1 - share, from 1 to 1 / 2n
    rank = np.unique(np.clip(np.ceil((1 - above) * n + 0.5), 1, max(n, 1)).astype(np.int64)) - 1
    rank = rank[:n]
    return Quantiles(share=(rank + 0.5) / max(n, 1), latency_s=ordered[rank] / 1e9, of=n)


def _host(readings: Sequence[HostReading], start_ns: int) -> HostSeries | None:
    """CPU totals become rates between two readings, placed at the later one. Totals allow for skipping
    readings without losing CPU time."""
    if len(readings) < 2:
        return None
    step = -(-(len(readings) - 1) // MOST_READINGS)
    pairs = list(pairwise(readings[::step]))

    def cores(of: Callable[[HostReading], float | None]) -> tuple[float | None, ...]:
        return tuple(_rate(of(a), of(b), (b.at_ns - a.at_ns) / 1e9) for a, b in pairs)

    server, client = cores(lambda r: r.server_cpu_s), cores(lambda r: r.client_cpu_s)
    ours = (server, client, cores(lambda r: r.harness_cpu_s))
    return HostSeries(
        time_s=tuple((b.at_ns - start_ns) / 1e9 for _, b in pairs),
        server_cores=server,
        client_cores=client,
        host_cores=cores(lambda r: r.host_cpu_s),
        foreign_cores=_foreign(cores(lambda r: r.host_process_cpu_s), ours),
        stolen_cores=cores(lambda r: r.stolen_cpu_s),
        server_memory_bytes=tuple(b.server_memory_bytes for _, b in pairs),
        client_memory_bytes=tuple(b.client_memory_bytes for _, b in pairs),
    )


def _foreign(
    processes: Sequence[float | None], ours: Sequence[Sequence[float | None]]
) -> tuple[float | None, ...]:
    """What all processes used less `ours`; a part that was never observed isn't on this host. Ticks of 10 ms
    are coarse, so a little less than nothing is nothing."""
    seen = [cores for cores in ours if any(c is not None for c in cores)]

    def less(used: float | None, parts: Sequence[float | None]) -> float | None:
        known = [part for part in parts if part is not None]
        return None if used is None or len(known) < len(parts) else max(0.0, used - sum(known))

    return tuple(less(used, [cores[i] for cores in seen]) for i, used in enumerate(processes))


def _rate(before: float | None, after: float | None, seconds: float) -> float | None:
    """The rate between two totals; None where one is missing, and where the total fell: a process of the
    group ended, and its time went with it."""
    if before is None or after is None or seconds <= 0 or after < before:
        return None
    return (after - before) / seconds


def _gpus(readings: Sequence[GpuReading] | None, start_ns: int) -> tuple[GpuSeries, ...] | None:
    if not readings:
        return None
    of: dict[tuple[int, int | None], list[GpuReading]] = {}
    for reading in readings:
        of.setdefault((reading.device, reading.mig_instance), []).append(reading)
    keys = sorted(of, key=lambda key: (key[0], -1 if key[1] is None else key[1]))
    return tuple(_gpu(of[key], *key, start_ns) for key in keys)


def _gpu(readings: Sequence[GpuReading], device: int, mig: int | None, start_ns: int) -> GpuSeries:
    known = {
        name: tuple(getattr(r, name) for r in readings)
        for name in GPU_LEVELS
        if any(getattr(r, name) is not None for r in readings)
    }
    time_s = tuple((r.at_ns - start_ns) / 1e9 for r in readings)
    return coarser(GpuSeries(device, mig, time_s, known), MOST_READINGS)


def coarser(gpu: GpuSeries, most: int) -> GpuSeries:
    """Means of consecutive values where there are more than `most`, placed at the middle one."""
    step = -(-len(gpu.time_s) // most)
    starts = range(0, len(gpu.time_s), max(step, 1))
    blocks = [slice(start, start + step) for start in starts]
    return replace(
        gpu,
        time_s=tuple(gpu.time_s[b][len(gpu.time_s[b]) // 2] for b in blocks),
        levels={name: tuple(_mean(values[b]) for b in blocks) for name, values in gpu.levels.items()},
    )


def fewer(host: HostSeries, most: int) -> HostSeries:
    """Means of consecutive values where there are more than `most`, placed at the last one."""
    step = -(-len(host.time_s) // most)
    blocks = [slice(start, start + step) for start in range(0, len(host.time_s), max(step, 1))]
    means = {
        name: tuple(_mean(getattr(host, name)[b]) for b in blocks)
        for name in HostSeries.__slots__
        if name != "time_s"
    }
    return HostSeries(time_s=tuple(host.time_s[b][-1] for b in blocks), **means)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None
