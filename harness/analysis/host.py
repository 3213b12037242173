"""What the host did over the measured window.

A counter is read off at the window's two edges, and is not observed where the window isn't covered on both
sides; levels (memory) come from the readings inside the window. The GPUs are in `harness.analysis.gpu`.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.window import growth, inside, largest, per, series
from harness.schema.result import HostFigures
from harness.schema.samples import HostReading, Window

FOREIGN_AT_LEAST_S = 1.0
"""What other processes used is the small difference of large counts of 10 ms ticks: only after a second does
it stand out."""


def host_figures(readings: Sequence[HostReading], window: Window, requests: int, cores: int) -> HostFigures:
    """The host over `window`. `requests` are those that ended in it, `cores` what the harness may use.

    Memory is the largest that was read in the window.
    """

    def used(field: str) -> float | None:
        return growth(series(readings, field), window)

    client_cpu_s = used("client_cpu_s")
    within = inside(readings, window)
    return HostFigures(
        cores=cores,
        host_busy_cores=per(used("host_cpu_s"), window.seconds),
        server_cpu_cores=per(used("server_cpu_s"), window.seconds),
        client_cpu_cores=per(client_cpu_s, window.seconds),
        client_cpu_s_per_request=per(client_cpu_s, requests),
        server_memory_bytes=largest(r.server_memory_bytes for r in within),
        client_memory_bytes=largest(r.client_memory_bytes for r in within),
        harness_cpu_cores=per(used("harness_cpu_s"), window.seconds),
        foreign_cpu_cores=_foreign_cores(readings, window),
        stolen_cpu_cores=per(used("stolen_cpu_s"), window.seconds),
        throttled_cpu_cores=per(used("throttled_cpu_s"), window.seconds),
    )


def _foreign_cores(readings: Sequence[HostReading], window: Window) -> float | None:
    """Cores that all processes used, less those of the server, the load generator and harness.

    A part that was in no reading isn't on this host. Under FOREIGN_AT_LEAST_S nothing is said.
    """
    if window.seconds < FOREIGN_AT_LEAST_S:
        return None
    used_s = growth(series(readings, "host_process_cpu_s"), window)
    if used_s is None:
        return None
    for part in ("server_cpu_s", "client_cpu_s", "harness_cpu_s"):
        if known := series(readings, part):
            ours_s = growth(known, window)
            if ours_s is None:
                return None
            used_s -= ours_s
    return max(0.0, used_s) / window.seconds
