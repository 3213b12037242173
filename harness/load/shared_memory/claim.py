"""A file of our own in /dev/shm, whose name says to whom it belongs."""

from __future__ import annotations

import os

from harness import ownership
from harness.schema.errors import HarnessError


class Claim:
    """An empty file, until `close`. Raises HarnessError where it can't be made."""

    def __init__(self) -> None:
        self.name = ownership.new_name("load")
        self._path = ownership.SHARED_MEMORY / self.name
        try:
            self.file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HarnessError(
                f"{ownership.SHARED_MEMORY} can't be written to ({error.strerror}): set `shared_memory: none`"
            ) from error

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self.file)
