"""What time it is, in the forms that harness keeps, and which boot of the machine it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

_BEGAN, _BEGAN_S = datetime.now(UTC), time.clock_gettime(time.CLOCK_BOOTTIME)


def now() -> str:
    """The time in UTC, to the millisecond, as ISO 8601 has it: 2026-01-31T12:00:00.000+00:00.

    It goes on evenly from what the clock showed when this process began: a clock that is set meanwhile would
    make a run of minutes one of a day.
    """
    passed = timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME) - _BEGAN_S)
    return (_BEGAN + passed).isoformat(timespec="milliseconds")


def stamp() -> str:
    """The same for names of folders, to the second: 20260131T120000Z."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def boot_id() -> str | None:
    """The running kernel's: process ids and CLOCK_MONOTONIC mean nothing to another. None where unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
