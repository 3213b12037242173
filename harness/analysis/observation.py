"""What host and GPUs did over the measured window, from readings that were taken at their own pace.

A counter is read off at the window's two edges by linear interpolation between the readings around each:
where the window isn't covered on both sides, the value was not observed. Levels (memory, temperature,
clocks) come from the readings inside the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from harness.schema.result import GpuEnvironment, GpuFigures, HostFigures
from harness.schema.samples import GpuReading, HostReading, Window


class _Reading(Protocol):
    @property
    def at_ns(self) -> int: ...


R = TypeVar("R", bound=_Reading)
Number = TypeVar("Number", int, float)

FOREIGN_AT_LEAST_S = 1.0
"""What other processes used is the small difference of large counts of 10 ms ticks: it takes a second to
stand out."""

IDLE = "gpu_idle"
"""The one clock event reason that says there was no work, not that work was slowed."""


def host_figures(readings: Sequence[HostReading], window: Window, requests: int, cores: int) -> HostFigures:
    """The host over `window`. `requests` are those that ended in it, `cores` what the harness may use.

    Memory is the largest that was read in the window.
    """
    inside = _inside(readings, window)
    server_cpu_s = _difference(((r.at_ns, r.server_cpu_s) for r in readings), window)
    client_cpu_s = _difference(((r.at_ns, r.client_cpu_s) for r in readings), window)
    harness_cpu_s = _difference(((r.at_ns, r.harness_cpu_s) for r in readings), window)
    host_cpu_s = _difference(((r.at_ns, r.host_cpu_s) for r in readings), window)
    stolen_cpu_s = _difference(((r.at_ns, r.stolen_cpu_s) for r in readings), window)
    throttled_cpu_s = _difference(((r.at_ns, r.throttled_cpu_s) for r in readings), window)
    return HostFigures(
        cores=cores,
        host_busy_cores=_per(host_cpu_s, window.seconds),
        server_cpu_cores=_per(server_cpu_s, window.seconds),
        client_cpu_cores=_per(client_cpu_s, window.seconds),
        client_cpu_s_per_request=_per(client_cpu_s, requests),
        server_memory_bytes=_largest(r.server_memory_bytes for r in inside),
        client_memory_bytes=_largest(r.client_memory_bytes for r in inside),
        harness_cpu_cores=_per(harness_cpu_s, window.seconds),
        foreign_cpu_cores=_foreign_cores(readings, window),
        stolen_cpu_cores=_per(stolen_cpu_s, window.seconds),
        throttled_cpu_cores=_per(throttled_cpu_s, window.seconds),
    )


def _foreign_cores(readings: Sequence[HostReading], window: Window) -> float | None:
    """Cores that all processes used, less those of the server, the load generator and harness.

    A part that was in no reading isn't on this host. Under FOREIGN_AT_LEAST_S nothing is said.
    """
    if window.seconds < FOREIGN_AT_LEAST_S:
        return None
    used_s = _difference(((r.at_ns, r.host_process_cpu_s) for r in readings), window)
    if used_s is None:
        return None
    for part in ("server_cpu_s", "client_cpu_s", "harness_cpu_s"):
        if any(getattr(r, part) is not None for r in readings):
            ours_s = _difference(((r.at_ns, getattr(r, part)) for r in readings), window)
            if ours_s is None:
                return None
            used_s -= ours_s
    return max(0.0, used_s) / window.seconds


def gpu_figures(
    readings: Sequence[GpuReading], devices: Sequence[GpuEnvironment], window: Window, inferences: int
) -> tuple[GpuFigures, ...] | None:
    """Each of `devices` over `window`; None where there is no GPU.

    Mean power is energy over time where the GPU counts energy, because NVML's power readings cover only a
    part of the time on some GPUs (a quarter on the H100); else it is the mean of the readings.
    `throttle_reasons` are all that were active in some reading, in order of appearance, but for `gpu_idle`.
    """
    if not devices:
        return None
    return tuple(
        _gpu(device, [r for r in readings if r.device == device.device], window, inferences)
        for device in devices
    )


def _gpu(
    device: GpuEnvironment, readings: Sequence[GpuReading], window: Window, inferences: int
) -> GpuFigures:
    inside = _inside(readings, window)
    energy_j = _difference(((r.at_ns, r.energy_j) for r in readings), window)
    power_w = _per(energy_j, window.seconds)
    active = _all_seen(r.throttle_reasons for r in inside)
    return GpuFigures(
        device=device.device,
        name=device.name,
        utilization_mean=_mean(r.utilization for r in inside),
        memory_bytes_max=_largest(r.memory_bytes for r in inside),
        power_w_mean=_mean(r.power_w for r in inside) if power_w is None else power_w,
        energy_j=energy_j,
        energy_j_per_inference=_per(energy_j, inferences),
        temperature_c_max=_largest(r.temperature_c for r in inside),
        sm_clock_hz_mean=_mean(r.sm_clock_hz for r in inside),
        throttle_reasons=None if active is None else tuple(reason for reason in active if reason != IDLE),
        foreign_processes=_all_seen(r.foreign_processes for r in inside),
    )


def _all_seen(each: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Everything that stands in some reading, in order of appearance; None where no reading has the value."""
    known = [names for names in each if names is not None]
    return tuple(dict.fromkeys(name for names in known for name in names)) if known else None


def _inside(readings: Sequence[R], window: Window) -> list[R]:
    return [r for r in readings if window.start_ns <= r.at_ns <= window.end_ns]


def _difference(totals: Iterable[tuple[int, float | None]], window: Window) -> float | None:
    """How much a counter grew over `window`, from (time in ns, total) in order of time.

    None where it was not read on both sides of the window, or fell, as a counter does that starts anew.
    """
    known = [(at_ns, total) for at_ns, total in totals if total is not None]
    if not known or known[0][0] > window.start_ns or known[-1][0] < window.end_ns:
        return None
    # times from the window's start: as floats of nanoseconds since boot they would lose their last digits
    at_s = np.array([at_ns - window.start_ns for at_ns, _ in known]) / 1e9
    total = np.array([total for _, total in known])
    if np.any(np.diff(total[_touching(at_s, window.seconds)]) < 0):
        return None
    start, end = np.interp([0.0, window.seconds], at_s, total)
    return float(end - start)


def _touching(at_s: np.ndarray[tuple[int], np.dtype[np.float64]], seconds: float) -> slice:
    """The readings inside the window and the one on either side of it."""
    first = int(np.searchsorted(at_s, 0.0, side="right")) - 1
    last = int(np.searchsorted(at_s, seconds, side="left"))
    return slice(first, last + 1)


def _per(total: float | None, count: float) -> float | None:
    return total / count if total is not None and count > 0 else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _largest(values: Iterable[Number | None]) -> Number | None:
    return max((v for v in values if v is not None), default=None)
