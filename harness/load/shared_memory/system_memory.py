"""A region of system memory that Triton can map: a POSIX shared memory object, a file in Linux's /dev/shm."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from typing import Any

from harness.load.shared_memory.claim import Claim
from harness.load.shared_memory.region_control import RegionKind
from harness.ownership import SHARED_MEMORY
from harness.schema.errors import HarnessError


class SystemMemory:
    """`size` bytes that this process and Triton both see, until `close`. A `regions.Memory`.

    Raises HarnessError where there is no room.
    """

    kind: RegionKind = "system"

    def __init__(self, size: int) -> None:
        self.size = size
        self._claim = Claim()
        self.name = self._claim.name
        try:
            # Without the room set aside, the first write beyond it would be a SIGBUS.
            os.posix_fallocate(self._claim.file, 0, size)
            self._memory = mmap.mmap(self._claim.file, size)
        except OSError as error:
            self._claim.close()
            raise HarnessError(
                f"{SHARED_MEMORY} has no room for {size / 1e6:.0f} MB ({error.strerror}): make it larger (a "
                "container's --shm-size), have fewer requests in flight, or set `shared_memory: none`"
            ) from error

    @property
    def reached_by(self) -> str:
        return f"let it see {SHARED_MEMORY} of this machine (a container's --ipc=host)"

    def registration(self) -> dict[str, Any]:
        return {"key": f"/{self.name}", "offset": 0, "byte_size": self.size}

    def write(self, at: int, data: memoryview) -> None:
        self._memory[at : at + len(data)] = data

    def read(self, at: int, size: int) -> bytes:
        return self._memory[at : at + size]

    def close(self) -> None:
        with suppress(BufferError):  # somebody looks at it still; it goes when they stop
            self._memory.close()
        self._claim.close()
