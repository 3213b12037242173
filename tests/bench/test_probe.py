"""What reading the GPUs costs: harness's own share over the double for NVML, and the driver's on a real GPU.

Run with `pytest -o addopts= --benchmark-only -s tests/bench/test_probe.py`.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.probe.nvidia.nvml_gpus import NvmlGpus
from tests.nvml import NvmlDouble, nvml_double, printed_by

__all__ = ["nvml_double"]

LOOK_S = 0.05
SECONDS = 5.0

READ = """
import json, sys, time
from harness.probe.gpus import Gpus

seconds, look_s = map(float, sys.argv[1:])
readings = 0
with Gpus() as gpus:
    gpus.read()
    whole = sum(d.mig_instance is None for d in gpus.devices)
    cpu, began = time.thread_time(), time.monotonic()
    due = began
    while due < began + seconds:
        due += look_s
        time.sleep(max(0.0, due - time.monotonic()))
        readings += len([r for r in gpus.read() if r.power_w is not None])
    cpu_s, took_s = time.thread_time() - cpu, time.monotonic() - began
print(json.dumps({"cpu_cores": cpu_s / took_s, "per_s": readings / took_s / whole}))
"""


@pytest.mark.parametrize(
    "script", ["processes=1,2", "gpus=8 power_w=3000 processes=1,2", "mig=5 processes=1,2"]
)
def test_own_share_of_a_core_at_20_hz(
    benchmark: BenchmarkFixture, nvml_double: NvmlDouble, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """To hold: under 1% of a core."""

    def once() -> Any:
        return printed_by(READ, nvml_double(script), str(SECONDS), str(LOOK_S))

    found = [once() for _ in range(2)]
    found.append(benchmark.pedantic(once))
    share = statistics.median(f["cpu_cores"] for f in found)
    rate = statistics.median(f["per_s"] for f in found)
    with capsys.disabled():
        print(f"\n{script}: {share:.2%} of a core, power read {rate:.1f} times a second and GPU")


@pytest.mark.gpu
def test_share_of_a_core_at_20_hz_on_this_gpu(
    benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """To hold: under 1% of a core. Also what each group of values costs, and how often it has new ones."""
    found = benchmark.pedantic(lambda: printed_by(READ, {}, "10", str(LOOK_S)))
    with capsys.disabled():
        print(f"\n{found['cpu_cores']:.2%} of a core, power read {found['per_s']:.1f} times a second")
        with NvmlGpus() as gpus:
            gpus.read()
            for device in gpus._devices:
                for _, group in device._groups:
                    wall_us, cpu_us = _cost(group)
                    every_ms = _news(group)
                    print(
                        f"  {device.name} {group.__name__:10} {wall_us:8.0f} us, {cpu_us:8.0f} us of CPU; "
                        f"a new value every {every_ms} ms"
                    )


def _cost(group: Callable[[], dict[str, Any]], times: int = 20) -> tuple[float, float]:
    """Medians in microseconds, at the pace of looks, when caches are cold."""
    wall, cpu = [], []
    for _ in range(times):
        time.sleep(LOOK_S)
        began = time.perf_counter_ns(), time.thread_time_ns()
        group()
        wall.append((time.perf_counter_ns() - began[0]) / 1e3)
        cpu.append((time.thread_time_ns() - began[1]) / 1e3)
    return statistics.median(wall), statistics.median(cpu)


def _news(group: Callable[[], dict[str, Any]], seconds: float = 2.0) -> str:
    """By field, the median time between changes when asked as fast as it answers."""
    changed: dict[str, list[float]] = {}
    last: dict[str, Any] = {}
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for field, value in group().items():
            if last.get(field) != value:
                last[field] = value
                changed.setdefault(field, []).append(time.monotonic())
        time.sleep(0.001)
    gaps = {f: [b - a for a, b in itertools.pairwise(at)] for f, at in changed.items()}
    return ", ".join(f"{f} {statistics.median(g) * 1e3:.0f}" for f, g in gaps.items() if len(g) > 2) or "?"
