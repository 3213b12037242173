"""What the GPUs did over the measured window, from readings that were taken at their own pace.

Counters (energy, memory errors) are differences over the window, levels the mean or the largest of the
readings in it, and activities, which are means since the reading before, are weighted by the time they cover.
A figure that is null has its reason in `unsupported`: the device's own, or what the readings lack.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, fields
from typing import Any, Protocol

from harness.analysis.gpu_processes import HIDDEN, server_memory
from harness.analysis.window import (
    counted,
    covers,
    growth,
    inside,
    integral,
    largest,
    mean,
    per,
    series,
    spans,
    watched_s,
)
from harness.schema.point import Point
from harness.schema.result import GpuEnvironment, GpuFigures
from harness.schema.samples import GpuReading, Window

IDLE = "gpu_idle"
"""The one clock event reason that says there was no work, not that work was slowed."""

ACTIVITY_COVERS = 0.9
"""Share of the window that activities must be of: a mean of less isn't the window's."""

POWER_GAP_S = 2.0
"""Power readings further apart than this are not integrated."""

WATCH_GAP_S = 5.0
"""Readings further apart than this leave time unwatched; Triton's own metrics come each 1 to 2 s."""

SLOW_S = 1.5
"""Slow values are read about once a second: their last reading may come before the window's end by this."""

IDLE_AT_LEAST_S = 1.0
"""What an idle GPU uses takes a second to read, since its counter may grow in steps of a tenth."""

READ_AS = {
    "utilization_mean": "utilization",
    "memory_bytes_max": "memory_bytes",
    "power_w_mean": "power_w",
    "energy_j": "energy_j",
    "energy_j_per_inference": "energy_j",
    "energy_j_by_power": "power_w",
    "idle_power_w": "power_w",
    "idle_energy_j_per_inference": "power_w",
    "temperature_c_max": "temperature_c",
    "sm_clock_hz_mean": "sm_clock_hz",
    "memory_clock_hz_mean": "memory_clock_hz",
    "throttle_reasons": "throttle_reasons",
    "foreign_processes": "processes",
    "server_memory_bytes_max": "processes",
    "sm_activity_mean": "sm_activity",
    "sm_occupancy_mean": "sm_occupancy",
    "tensor_activity_mean": "tensor_activity",
    "dram_activity_mean": "dram_activity",
    "pcie_tx_bytes_per_s_mean": "pcie_tx_bytes_per_s",
    "pcie_rx_bytes_per_s_mean": "pcie_rx_bytes_per_s",
    "ecc_errors": "ecc_errors",
}
"""Each figure's field of the readings, under whose name a device says why it lacks it."""

UNREPORTED = "the device or driver doesn't report it"

_COUNTERS = ("energy_j", "ecc_errors")
_ACTIVITIES = (
    "sm_activity",
    "sm_occupancy",
    "tensor_activity",
    "dram_activity",
    "pcie_tx_bytes_per_s",
    "pcie_rx_bytes_per_s",
)
_VALUES = tuple(f.name for f in fields(GpuReading) if f.name not in ("at_ns", "device", "mig_instance"))


@dataclass(frozen=True, slots=True)
class GpuWatch:
    """How well one GPU was watched over the window."""

    device: int
    mig_instance: int | None
    seen: float
    """Share of the window that was watched, 0 to 1."""
    lost: bool
    """Whether it was there, and then was gone."""


class _Device(Protocol):
    """A GPU, or a MIG instance of it."""

    @property
    def device(self) -> int: ...
    @property
    def mig_instance(self) -> int | None: ...


def gpu_name(gpu: _Device) -> str:
    """ "GPU 1", or "GPU 1 MIG 3"."""
    return f"GPU {gpu.device}" if gpu.mig_instance is None else f"GPU {gpu.device} MIG {gpu.mig_instance}"


def on_cpu(point: Point, provider: str | None) -> bool:
    """Whether the model was computed on the CPU, as asked, or as ONNX Runtime's `provider` shows."""
    return point.server.kind == "cpu" or (provider is not None and provider.startswith("CPU"))


def may_use(point: Point, device: int, provider: str | None) -> bool:
    """Whether the point's server may have used a GPU: all of them, or those of `server.gpus`."""
    return not on_cpu(point, provider) and (point.server.gpus is None or device in point.server.gpus)


def gpu_figures(
    readings: Sequence[GpuReading],
    devices: Sequence[GpuEnvironment],
    window: Window,
    inferences: int,
    *,
    idle: Window | None = None,
    load_pids: Set[int] = frozenset(),
) -> tuple[GpuFigures, ...] | None:
    """Each of `devices` (GPUs and MIG devices) over `window`; None where there is no GPU.

    `idle` is a time before the load in which nothing asked for the model; `load_pids` are processes that may
    hold memory of a GPU and are not the server. Mean power is energy over time where the GPU counts energy,
    because NVML's power readings cover only a part of the time on some GPUs (a quarter on the H100); else it
    is the mean of the readings. `throttle_reasons` are all that were active in some reading, in order of
    appearance, but for `gpu_idle`.
    """
    if not devices:
        return None
    return tuple(_figures(d, _of(readings, d), window, inferences, idle, load_pids) for d in devices)


def gpu_watch(
    readings: Sequence[GpuReading], devices: Sequence[GpuEnvironment], window: Window
) -> tuple[GpuWatch, ...]:
    """How well each of `devices` was watched over `window`."""

    def watch(device: GpuEnvironment) -> GpuWatch:
        mine = _of(readings, device)
        seen = watched_s(mine, window, gap_s=WATCH_GAP_S)
        return GpuWatch(
            device=device.device,
            mig_instance=device.mig_instance,
            seen=seen / window.seconds if window.seconds > 0 else 1.0,
            lost=_lost(mine, window),
        )

    return tuple(watch(device) for device in devices)


def _of(readings: Sequence[GpuReading], device: GpuEnvironment) -> list[GpuReading]:
    key = (device.device, device.mig_instance)
    return [r for r in readings if (r.device, r.mig_instance) == key]


def _lost(readings: Sequence[GpuReading], window: Window) -> bool:
    """A lost GPU is read without a single value once, and then no more. Where a reading now and then
    has no value, because none was due, the GPU isn't lost."""
    if len(readings) < 2 or readings[-1].at_ns > window.end_ns:
        return False
    return _blank(readings[-1]) and not any(_blank(r) for r in readings[:-1])


def _blank(reading: GpuReading) -> bool:
    return all(getattr(reading, name) is None for name in _VALUES)


def _figures(
    device: GpuEnvironment,
    readings: Sequence[GpuReading],
    window: Window,
    inferences: int,
    idle: Window | None,
    load_pids: Set[int],
) -> GpuFigures:
    within = inside(readings, window)
    energy_j = growth(series(readings, "energy_j"), window)
    power_w = per(energy_j, window.seconds)
    active = _all_seen(r.throttle_reasons for r in within)
    idle_power_w, why_no_idle = _idle_power(readings, idle)
    idle_j = None if idle_power_w is None else idle_power_w * window.seconds
    memory_bytes, why_no_memory = server_memory(within, load_pids)
    ecc_errors = [(r.at_ns, r.ecc_errors) for r in readings if r.ecc_errors is not None]
    values: dict[str, Any] = {
        "utilization_mean": mean(r.utilization for r in within),
        "memory_bytes_max": largest(r.memory_bytes for r in within),
        "power_w_mean": mean(r.power_w for r in within) if power_w is None else power_w,
        "energy_j": energy_j,
        "energy_j_per_inference": per(energy_j, inferences),
        "energy_j_by_power": integral(series(readings, "power_w"), window, gap_s=POWER_GAP_S),
        "idle_power_w": idle_power_w,
        "idle_energy_j_per_inference": per(idle_j, inferences),
        "temperature_c_max": largest(r.temperature_c for r in within),
        "sm_clock_hz_mean": mean(r.sm_clock_hz for r in within),
        "memory_clock_hz_mean": mean(r.memory_clock_hz for r in within),
        "throttle_reasons": None if active is None else tuple(reason for reason in active if reason != IDLE),
        "foreign_processes": _all_seen(r.foreign_processes for r in within),
        "server_memory_bytes_max": memory_bytes,
        "ecc_errors": counted(ecc_errors, window, slack_s=SLOW_S),
    }
    values |= {f"{name}_mean": _over_time(readings, name, window) for name in _ACTIVITIES}
    own = {
        "idle_power_w": why_no_idle,
        "idle_energy_j_per_inference": why_no_idle,
        "server_memory_bytes_max": why_no_memory,
        "foreign_processes": HIDDEN if any(r.processes is not None for r in within) else None,
        "energy_j_by_power": _why_no_integral(readings, window),
    }
    if inferences <= 0:
        a_share = {"energy_j_per_inference": energy_j, "idle_energy_j_per_inference": idle_power_w}
        own |= {name: "no inference succeeded" for name, whole in a_share.items() if whole is not None}

    def why(name: str) -> str:
        field = READ_AS[name]
        return own.get(name) or device.unsupported.get(field) or _why(readings, field, window)

    return GpuFigures(
        device=device.device,
        mig_instance=device.mig_instance,
        name=device.name,
        **values,
        unsupported={name: why(name) for name, value in values.items() if value is None},
    )


def _over_time(readings: Sequence[GpuReading], field: str, window: Window) -> float | None:
    weighted = spans(series(readings, field), window)
    seconds = sum(s for s, _ in weighted)
    if seconds < ACTIVITY_COVERS * window.seconds or seconds == 0:
        return None
    return sum(s * value for s, value in weighted) / seconds


def _idle_power(readings: Sequence[GpuReading], idle: Window | None) -> tuple[float | None, str | None]:
    """What the GPU used after the last reading in `idle` that saw it work, or why that isn't known."""
    if all(r.power_w is None and r.energy_j is None for r in readings):
        return None, None
    within = inside(readings, idle) if idle is not None else []
    if idle is None or not within:
        return None, "no idle time before the load was observed"
    if any(r.foreign_processes for r in within):
        return None, "other processes computed on the GPU before the load"
    if all(r.utilization is None for r in within):
        return None, "whether the GPU was idle before the load was not observed"
    worked_ns = max((r.at_ns for r in within if r.utilization), default=idle.start_ns)
    quiet = [r for r in within if r.at_ns >= worked_ns]
    if quiet[-1].at_ns - quiet[0].at_ns < IDLE_AT_LEAST_S * 1e9:
        return None, "the GPU was not idle for a second before the load"
    power_w = mean(r.power_w for r in quiet)
    energy_j = series(quiet, "energy_j")
    if energy_j and energy_j[-1][0] - energy_j[0][0] >= IDLE_AT_LEAST_S * 1e9:
        counted_over = Window(energy_j[0][0], energy_j[-1][0])
        power_w = per(growth(energy_j, counted_over), counted_over.seconds) or power_w
    return power_w, None


def _why_no_integral(readings: Sequence[GpuReading], window: Window) -> str | None:
    power_w = series(readings, "power_w")
    if not power_w:
        return None
    if not covers(power_w, window):
        return _why(readings, "power_w", window)
    return f"the power readings leave a gap of over {POWER_GAP_S:g} s"


def _why(readings: Sequence[GpuReading], field: str, window: Window) -> str:
    """Why a figure that rests on `field` is null, by what the readings lack."""
    if not readings:
        return "the GPU was not read"
    if _lost(readings, window):
        return "the GPU was lost during the point"
    if not inside(readings, window):
        return "no reading in the measured phase"
    known = series(readings, field)
    if not known:
        return UNREPORTED
    if field in _ACTIVITIES:
        seconds = sum(s for s, _ in spans(known, window))
        return f"read for only {seconds / max(window.seconds, 1e-9):.0%} of the measured phase"
    slack_ns = int(SLOW_S * 1e9) if field == "ecc_errors" else 0
    until = Window(window.start_ns, max(window.start_ns + 1, window.end_ns - slack_ns))
    if field in _COUNTERS and not covers(known, until):
        return "not read on both sides of the measured phase"
    if field in _COUNTERS:
        return "its counter started anew in the measured phase"
    return "no reading of it in the measured phase"


def _all_seen(each: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Everything that stands in some reading, in order of appearance; None where no reading has the value."""
    known = [names for names in each if names is not None]
    return tuple(dict.fromkeys(name for names in known for name in names)) if known else None
