"""A region of GPU memory that Triton can map: an allocation of our own, and the driver's handle of it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from harness.load.shared_memory.claim import Claim
from harness.load.shared_memory.cuda_driver import DeviceMemory
from harness.load.shared_memory.region_control import RegionKind


class CudaMemory:
    """`size` bytes of a GPU that this process and Triton both see, until `close`.

    A `regions.Memory`. The claim's file is empty: it tells the next harness what to let
    Triton forget, should this one be killed, for the driver frees our memory then but not Triton's mapping.

    `gpu` is the GPU's number here (see `cuda_driver`), `there` is Triton's: a container may see
    fewer.

    Raises InputError where there is no such GPU, HarnessError where there is no room.
    """

    kind: RegionKind = "cuda"

    def __init__(self, size: int, gpu: int = 0, there: int = 0) -> None:
        self.size, self._gpu, self._there = size, gpu, there
        self._memory = DeviceMemory(gpu, size)
        try:
            self._handle = self._memory.handle()
            self._claim = Claim()
        except BaseException:
            self._memory.close()
            raise
        self.name = self._claim.name

    @property
    def reached_by(self) -> str:
        return (
            f"let it see GPU {self._gpu} and this machine's processes (a container's --pid=host --ipc=host)"
        )

    def registration(self) -> dict[str, Any]:
        handle = b64encode(self._handle).decode()
        return {"raw_handle": {"b64": handle}, "device_id": self._there, "byte_size": self.size}

    def write(self, at: int, data: memoryview) -> None:
        self._memory.write(at, data)

    def read(self, at: int, size: int) -> bytes:
        return self._memory.read(at, size)

    def close(self) -> None:
        self._memory.close()
        self._claim.close()
