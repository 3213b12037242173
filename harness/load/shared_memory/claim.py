"""A name that belongs to a living process, so what a killed harness left can be told from what is used."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.schema.errors import HarnessError

FOLDER = Path("/dev/shm")

_PREFIX = "harness_load_"
_YOUNG_S = 60.0
"""A file this young may not be locked yet by the process that is making it."""


class Claim:
    """An empty file of our own in /dev/shm, until `close`; locked, so that nobody takes it for left over.

    Raises HarnessError where it can't be made.
    """

    def __init__(self) -> None:
        self.name = f"{_PREFIX}{os.getpid()}_{secrets.token_hex(6)}"
        self._path = FOLDER / self.name
        try:
            self.file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HarnessError(
                f"{FOLDER} can't be written to ({error.strerror}): set `shared_memory: none`"
            ) from error
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise HarnessError(
                f"a file in {FOLDER} can't be locked ({error.strerror}): set `shared_memory: none`"
            ) from error

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self.file)


def sweep() -> list[str]:
    """Remove what dead processes left: what nobody holds the lock of; the names."""
    removed = []
    for path in FOLDER.glob(f"{_PREFIX}*"):
        with suppress(OSError), _opened(path) as file:  # another sweep was faster, or it is locked
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
                continue
            if time.time() - found.st_mtime < _YOUNG_S:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed.append(path.name)
    return removed


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Everybody may put things into that folder: no link is followed, and no pipe waited for."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)
