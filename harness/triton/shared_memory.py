"""The shared memory of Triton's Python backend: whose it is, and what a killed server left behind.

A server that is killed leaves its regions in /dev/shm until the machine restarts. Ours carry the process
that started the server in their names, so that only those of dead processes are removed.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

SHARED_MEMORY = Path("/dev/shm")

_NAME = re.compile(r"harness_(?P<namespace>\d+)_(?P<pid>\d+)_(?P<started>\d+)_[0-9a-f]{8}_")


def region_prefix() -> str:
    """A prefix for the regions of one server that this process starts: unique, and it names this process."""
    return f"harness_{_namespace()}_{os.getpid()}_{_started(os.getpid())}_{secrets.token_hex(4)}_"


def sweep_dead() -> None:
    """Remove what servers of dead harness processes left: regions, and processes that live on."""
    for process in _stragglers():
        with suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
            process.wait(5)
    _remove(path for path in SHARED_MEMORY.glob("harness_*") if _orphaned(path.name))


def sweep(prefix: str) -> None:
    """Remove the regions of one server, which must be dead."""
    _remove(SHARED_MEMORY.glob(f"{prefix}*"))


def _remove(paths: Iterator[Path]) -> None:
    for path in list(paths):
        with suppress(OSError):  # another sweep was faster, or the file belongs to another user
            path.unlink()


def _stragglers() -> Iterator[psutil.Process]:
    """Processes of servers whose harness is dead: the region prefix is in their arguments."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.uids().real == os.getuid() and any(
                _orphaned(argument.rpartition("shm-region-prefix-name=")[2])
                for argument in process.cmdline()[1:]
            ):
                yield process


def _orphaned(name: str) -> bool:
    found = _NAME.match(name)
    # A process of another namespace (a container that shares /dev/shm) can't be seen from here.
    if found is None or int(found["namespace"]) != _namespace():
        return False
    return _started(int(found["pid"])) != int(found["started"])


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _started(pid: int) -> int | None:
    """When the process started, in clock ticks since the machine did; None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may have blanks
    return None if fields[0] in "ZX" else int(fields[19])
