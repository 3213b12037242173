"""Made-up readings of host and GPUs, their times in seconds from a moment long after boot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from harness.schema.result import GpuEnvironment
from harness.schema.samples import GpuReading, HostReading, Window

BOOT_NS = 7_000_000_000_000_000  # 81 days: float64 nanoseconds are no longer exact here
GIB = 2**30

phases = st.floats(0, 1)
intervals = st.floats(0.05, 3)
durations = st.floats(0.1, 60)


def device(index: int = 0, mig_instance: int | None = None, **unsupported: str) -> GpuEnvironment:
    unknown = dict.fromkeys(
        ("memory_bytes", "driver", "cuda_driver", "power_limit_w", "persistence", "ecc", "mig")
    )
    return GpuEnvironment(
        device=index,
        mig_instance=mig_instance,
        name=f"GPU {index}",
        uuid=f"GPU-{index}",
        unsupported=unsupported,
        **unknown,
    )


def gpu(at_s: float, energy_j: float | None = None, **fields: Any) -> GpuReading:
    empty = GpuReading(BOOT_NS + round(at_s * 1e9), 0, None, None, None, energy_j, None, None, None, None)
    return replace(empty, **fields)


def host(at_s: float, **fields: Any) -> HostReading:
    return replace(HostReading(BOOT_NS + round(at_s * 1e9), None, None, 0.0, None, None), **fields)


def window(start_s: float, end_s: float) -> Window:
    return Window(BOOT_NS + round(start_s * 1e9), BOOT_NS + round(end_s * 1e9))


def times(phase_s: float, interval_s: float, end_s: float) -> list[float]:
    """From before 0 to after `end_s`."""
    return [-phase_s + i * interval_s for i in range(int((end_s + phase_s) / interval_s) + 3)]
