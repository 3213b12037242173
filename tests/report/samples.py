"""The samples that would lie behind a made-up run: requests, host and GPU readings, and their series."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.analysis.columns import gather
from harness.report.page.series import PointSeries, series_of
from harness.schema.result import PointResult, RunResult
from harness.schema.samples import REQUEST, GpuReading, HostReading, Phase, Requests, Status, Window


def requests_of(point: PointResult, seed: int = 1, size: int | None = None) -> tuple[Requests, Window]:
    """Requests as a load process would have recorded them: 2 s of warm-up, then 10 s."""
    random = np.random.default_rng(seed)
    mean = point.service_s.mean or 0.01
    measured = size if size is not None else point.requests
    warm = measured // 5
    n = warm + measured
    start = 1_000_000_000_000
    due = np.concatenate([np.linspace(-2, 0, warm, endpoint=False), np.linspace(0, 10, measured)])
    requests = np.zeros(n, dtype=REQUEST)
    requests["intended_ns"] = start + (due * 1e9).astype(np.int64)
    requests["sent_ns"] = requests["intended_ns"] + 20_000
    slow = np.where(due < -1.5, 3.0, 1.0)
    took_s = mean * 0.72 * slow * random.lognormal(0, 0.35, n) + mean * 0.2
    requests["completed_ns"] = requests["intended_ns"] + (took_s * 1e9).astype(np.int64)
    requests["first_byte_ns"] = requests["completed_ns"] - 10_000
    requests["phase"] = np.where(due < 0, Phase.WARMUP, Phase.MEASURE)
    requests["request_class"] = random.integers(0, len(point.classes), n)
    if point.errors:
        requests["status"][warm + random.choice(measured, point.errors, replace=False)] = Status.REFUSED
    return requests, Window(start, start + 10_000_000_000)


def host_of(point: PointResult, window: Window) -> list[HostReading]:
    assert point.host is not None
    readings = []
    server, client, host = 100.0, 3.0, 5000.0
    for i in range(121):
        wave = 1 + 0.1 * np.sin(i / 7)
        readings.append(
            HostReading(
                at_ns=window.start_ns + int((i / 10 - 2) * 1e9),
                server_cpu_s=server,
                client_cpu_s=client,
                host_cpu_s=host,
                server_memory_bytes=(400 + i // 10) * 2**20,
                client_memory_bytes=96 * 2**20,
                harness_cpu_s=i / 1000,
                host_process_cpu_s=host,
                stolen_cpu_s=i / 5000,
            )
        )
        server += float((point.host.server_cpu_cores or 0) * wave / 10)
        client += float((point.host.client_cpu_cores or 0) * wave / 10)
        host += float((point.host.host_busy_cores or 0) * wave / 10)
    return readings


def gpu_of(window: Window) -> list[GpuReading]:
    return [
        GpuReading(
            at_ns=window.start_ns + int((i / 10 - 2) * 1e9),
            device=0,
            utilization=float(0.6 + 0.2 * np.sin(i / 5)),
            memory_bytes=3 * 2**30,
            power_w=float(400 + 60 * np.sin(i / 5)),
            energy_j=float(i * 41),
            temperature_c=60.0,
            sm_clock_hz=1.98e9 if i < 60 else 1.755e9,
            memory_clock_hz=2.6e9,
            throttle_reasons=(),
        )
        for i in range(121)
    ]


def series_for(run: RunResult, gpu: Callable[[Window], list[GpuReading]] = gpu_of) -> dict[str, PointSeries]:
    """Of every point; GPU readings where the point has GPU figures."""
    series = {}
    for seed, point in enumerate(run.points):
        requests, window = requests_of(point, seed)
        series[point.id] = series_of(
            *gather([requests], requests.size),
            [c.name for c in point.classes],
            host_of(point, window),
            gpu(window) if point.gpu else None,
            window,
        )
    return series
