"""Names that say which process made a thing: by them, what a dead harness left is told from the rest."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

_NAME = re.compile(r"harness_(?P<namespace>\d+)_(?P<pid>\d+)_(?P<started>\d+)_[0-9a-f]{8}_")


def new_name() -> str:
    """A name for what belongs to one server that this process starts: unique, and it names this process."""
    return f"harness_{_namespace()}_{os.getpid()}_{_started(os.getpid())}_{secrets.token_hex(4)}_"


def orphaned(name: str) -> bool:
    """Whether something whose name begins with one of `new_name` was made by a process that is gone."""
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
