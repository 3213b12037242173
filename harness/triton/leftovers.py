"""What a killed server left in shared memory, and its processes that live on.

A server that is killed leaves the regions of its Python backend in /dev/shm until the machine restarts. Ours
carry their owner in their names (`harness.ownership`), so that only those of dead processes go.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import psutil

from harness import ownership
from harness.child_process import lives

_GONE_S = 5.0
_LOOK_S = 0.01


def sweep_dead() -> None:
    """Remove what servers of dead harness processes left: regions, and processes that live on."""
    _kill(_of_servers(ownership.orphaned))
    ownership.sweep("triton")


def end(name: str) -> bool:
    """Kill what lives on of the server of this name, where its processes can be seen from here; whether there
    was any."""
    return _kill(_of_servers(lambda prefix: prefix.startswith(name)))


def sweep(prefix: str) -> None:
    """Remove the regions of one server, which must be dead."""
    for path in list(ownership.SHARED_MEMORY.glob(f"{prefix}*")):
        with suppress(OSError):  # another sweep was faster
            path.unlink()


def _kill(processes: Iterable[psutil.Process]) -> bool:
    found = list(processes)
    for process in found:
        with suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    give_up = time.monotonic() + _GONE_S
    while any(map(lives, found)) and time.monotonic() < give_up:
        time.sleep(_LOOK_S)
    return bool(found)


def _of_servers(wanted: Callable[[str], bool]) -> Iterator[psutil.Process]:
    """Processes of this user's servers: the name of the server, a prefix of its regions, is in their
    arguments."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            arguments = [word.rpartition("shm-region-prefix-name=")[2] for word in process.cmdline()[1:]]
            if process.uids().real == os.getuid() and any(map(wanted, arguments)):
                yield process
