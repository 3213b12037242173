"""How much of a GPU's memory the server's own processes held, from the processes that were listed on it."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

from harness.analysis.window import largest
from harness.schema.samples import GpuReading

HIDDEN = "the server's processes can't be seen from here"

_PID = re.compile(r"\((-?\d+)\)$")
"""The end of each of `GpuReading.foreign_processes`: "name (pid)"."""


def server_memory(readings: Sequence[GpuReading], load_pids: Set[int]) -> tuple[int | None, str | None]:
    """The most that was read, in bytes, or why it isn't known.

    The server's are all processes that are neither foreign nor of the load: where those can't be told apart,
    or the driver doesn't say a process's memory, nothing is known of that reading.
    """
    listed = [r for r in readings if r.processes is not None]
    if not listed:
        return None, None
    known = [r for r in listed if r.foreign_processes is not None]
    if not known:
        return None, HIDDEN
    held = [_held(r, load_pids) for r in known]
    if all(not each for each in held):
        return None, "the driver lists no process of the server"
    sums = [sum(b for b in each if b is not None) for each in held if each and None not in each]
    return largest(sums), None if sums else "the driver doesn't tell a process's memory"


def _held(reading: GpuReading, load_pids: Set[int]) -> list[int | None]:
    found = (_PID.search(name) for name in reading.foreign_processes or ())
    others = {int(match[1]) for match in found if match} | load_pids
    return [p.memory_bytes for p in reading.processes or () if p.pid not in others]
