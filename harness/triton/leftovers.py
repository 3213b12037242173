"""What a killed server left in shared memory, and its processes that live on.

A server that is killed leaves the regions of its Python backend in /dev/shm until the machine restarts. Ours
carry their owner in their names (`harness.ownership`), so that only those of dead processes go.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import psutil

from harness import ownership


def sweep_dead() -> None:
    """Remove what servers of dead harness processes left: regions, and processes that live on."""
    for process in _stragglers():
        with suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
            process.wait(5)
    ownership.sweep("triton")


def sweep(prefix: str) -> None:
    """Remove the regions of one server, which must be dead."""
    for path in list(ownership.SHARED_MEMORY.glob(f"{prefix}*")):
        with suppress(OSError):  # another sweep was faster
            path.unlink()


def _stragglers() -> Iterator[psutil.Process]:
    """Processes of servers whose harness is dead: the region prefix is in their arguments."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.uids().real == os.getuid() and any(
                ownership.orphaned(argument.rpartition("shm-region-prefix-name=")[2])
                for argument in process.cmdline()[1:]
            ):
                yield process
