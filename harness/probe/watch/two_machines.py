"""One series of host readings out of two: this machine's, and those of the machine where the server runs.

The rows stay this machine's, at its times. From the other one come the server's CPU time, read off between
its readings, and the server's memory, as it was last read. What processes used in all then counts the
server's part as well, wherever it ran. Without the server, the load and harness, what others used on this
machine is left, as it is where the server runs here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.schema.samples import HostReading

FOREIGN_SHARE = 0.1
"""The share of the cores of the server's machine above which the use by others is reported."""


def with_server(
    here: Sequence[HostReading], there: Sequence[HostReading], *, same_host: bool
) -> list[HostReading]:
    """`here` with the server's part from `there`, both in order of time and on the same clock.

    `same_host`: both are of one kernel, seen from two places; its totals then hold the server already.
    """
    server_cpu_s = _read_off(there, "server_cpu_s", here)
    all_cpu_s = _read_off(there, "host_process_cpu_s", here)
    at_ns = [reading.at_ns for reading in there]
    rows = []
    for row, server_s, all_s in zip(here, server_cpu_s, all_cpu_s, strict=True):
        last = bisect_right(at_ns, row.at_ns) - 1
        total_s = row.host_process_cpu_s
        if server_s is not None and same_host:
            total_s = all_s
        elif server_s is not None and total_s is not None:
            total_s += server_s
        memory = there[last].server_memory_bytes if last >= 0 else None
        rows.append(
            replace(
                row,
                server_cpu_s=server_s,
                server_memory_bytes=None if server_s is None else memory,
                host_process_cpu_s=total_s,
            )
        )
    return rows


def foreign_there(there: Sequence[HostReading], cores: int) -> str | None:
    """A sentence, where other processes than the server took much of its machine; None where they didn't."""
    known = [r for r in there if None not in (r.server_cpu_s, r.host_process_cpu_s, r.harness_cpu_s)]
    if len(known) < 2 or (seconds := (known[-1].at_ns - known[0].at_ns) / 1e9) < 1:
        return None
    first, last = (_foreign_s(known[i]) for i in (0, -1))
    used = (last - first) / seconds
    if used <= FOREIGN_SHARE * cores:
        return None
    return f"other processes used {used:.1f} of the {cores} cores of the server's machine"


def _foreign_s(row: HostReading) -> float:
    return (row.host_process_cpu_s or 0.0) - (row.server_cpu_s or 0.0) - (row.harness_cpu_s or 0.0)


def _read_off(there: Sequence[HostReading], field: str, here: Sequence[HostReading]) -> list[float | None]:
    """Their counter `field` at our times; None where it wasn't read before and after."""
    known = [(r.at_ns, getattr(r, field)) for r in there if getattr(r, field) is not None]
    if not known:
        return [None] * len(here)
    # times from the first: as floats of nanoseconds since boot they would lose their last digits
    since = known[0][0]
    times = np.array([at_ns - since for at_ns, _ in known], float)
    ours = np.array([r.at_ns - since for r in here], float)
    values = np.interp(ours, times, [value for _, value in known], left=np.nan, right=np.nan)
    return [None if np.isnan(value) else float(value) for value in values]
