"""Names that say which process made a thing: by them, one tells what a dead harness left from the rest.

What outlives a process, as shared memory, containers and folders do, gets such a name. The name is there from
the first moment, needs no lock, and can be given to what others make for us, as Triton does its regions.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Literal

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux has POSIX shared memory: files that stay until the machine restarts."""

OwnerKind = Literal["triton", "load", "remote"]
"""What the thing is for: of a server that harness starts, of the tensors that a load sends, or of a server of
somebody else's."""

_NAME = re.compile(r"harness_[a-z]+_(?P<namespace>\d+)_(?P<pid>\d+)_(?P<started>\d+)_[0-9a-f]{12}_")


def new_name(kind: OwnerKind) -> str:
    """A name for what belongs to this process: unique, and it names the process."""
    pid = os.getpid()
    return f"harness_{kind}_{_namespace()}_{pid}_{_started(pid)}_{secrets.token_hex(6)}_"


def orphaned(name: str) -> bool:
    """Whether something whose name begins with one of `new_name` was made by a process that is gone."""
    found = _NAME.match(name)
    # A process of another namespace (a container that shares /dev/shm) can't be seen from here.
    if found is None or int(found["namespace"]) != _namespace():
        return False
    return _started(int(found["pid"])) != int(found["started"])


def sweep(kind: OwnerKind) -> list[str]:
    """Remove the shared memory of this kind that dead processes of this user left; the names.

    Everybody may put things into that folder: what is no plain file of ours is left alone, and nothing is
    opened.
    """
    removed = []
    for path in SHARED_MEMORY.glob(f"harness_{kind}_*"):
        with suppress(OSError):  # another sweep was faster
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and orphaned(path.name):
                path.unlink()
                removed.append(path.name)
    return removed


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _started(pid: int) -> int | None:
    """When the process started, in clock ticks since the machine did; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may have blanks
    return None if fields[0] in "ZX" else int(fields[19])
