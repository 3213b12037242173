"""Memory of a GPU that another process can map, by the CUDA driver API.

Source: NVIDIA's "CUDA Driver API", primary context management and memory management (with the `cuIpc` calls).
Called by ctypes in `libcuda.so.1`, which comes with the driver: no CUDA toolkit and no package is needed. The
names with `_v2` are those that cuda.h's plain names stand for.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import numpy as np

from harness.schema.errors import HarnessError, InputError

LIBRARY = "libcuda.so.1"

_HANDLE_BYTES = 64
"""CU_IPC_HANDLE_SIZE. The runtime's cudaIpcMemHandle_t, which Triton opens, is as large and as opaque; that
it is the same is written nowhere, and is what the tests marked `gpu` see first."""
_PAGE = 2 << 20
"""The driver puts small allocations into one page of this size, and a page is what another process maps."""
_OUT_OF_MEMORY, _NO_DEVICE = 2, 100


class CudaError(HarnessError):
    """The driver said no. `code` is its CUresult."""

    def __init__(self, function: str, code: int) -> None:
        self.code = code
        super().__init__(
            f"the CUDA driver's {function} failed with {_words(code)}: set `shared_memory: system` or `none`"
        )


class DeviceMemory:
    """`size` bytes of a GPU's memory, until `close`.

    `gpu` counts the GPUs that CUDA sees in the order of their places on the PCI bus, which is NVML's, unless
    CUDA_DEVICE_ORDER says otherwise.

    Raises InputError where there is no such GPU, HarnessError where it has no room or the driver refuses.
    """

    def __init__(self, gpu: int, size: int) -> None:
        self._device = _device(gpu)
        self._context = ctypes.c_void_p()
        _call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self._address = 0
        try:
            self._address = self._allocated(gpu, size)
        except BaseException:
            self.close()
            raise

    def handle(self) -> bytes:
        """What another process opens the memory with: a CUipcMemHandle."""
        handle = (ctypes.c_char * _HANDLE_BYTES)()
        with self._current():
            _call("cuIpcGetMemHandle", handle, ctypes.c_uint64(self._address))
        return handle.raw

    def write(self, at: int, data: memoryview) -> None:
        """Copy `data` there; it has arrived when this returns."""
        if not len(data):
            return
        source = np.frombuffer(data, np.uint8)
        with self._current():
            _call(
                "cuMemcpyHtoD_v2",
                *(ctypes.c_uint64(self._address + at), ctypes.c_void_p(source.ctypes.data)),
                ctypes.c_size_t(source.nbytes),
            )
            # Pageable memory is only staged when the copy returns ("API synchronization behavior").
            _call("cuCtxSynchronize")

    def read(self, at: int, size: int) -> bytes:
        target = np.empty(size, np.uint8)
        with self._current():
            _call(
                "cuMemcpyDtoH_v2",
                *(ctypes.c_void_p(target.ctypes.data), ctypes.c_uint64(self._address + at)),
                ctypes.c_size_t(size),
            )
        return target.tobytes()

    def close(self) -> None:
        """Never raises: what the driver refuses to give back now it takes back when the process ends."""
        if self._address:
            with suppress(HarnessError), self._current():
                _call("cuMemFree_v2", ctypes.c_uint64(self._address))
        with suppress(HarnessError):
            _call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _allocated(self, gpu: int, size: int) -> int:
        whole = size + -size % _PAGE
        address, free, total = ctypes.c_uint64(), ctypes.c_size_t(), ctypes.c_size_t()
        with self._current():
            try:
                _call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(whole))
            except CudaError as error:
                if error.code != _OUT_OF_MEMORY:
                    raise
                _call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
                raise HarnessError(
                    f"GPU {gpu} has {free.value / 1e6:.0f} MB free, and {whole / 1e6:.0f} MB of tensors are "
                    "to be there: have fewer requests in flight, or set `shared_memory: system` or `none`"
                ) from error
        return address.value

    @contextmanager
    def _current(self) -> Iterator[None]:
        """The GPU's context is the thread's, which gets back the one it had."""
        _call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            _call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))


def check(gpu: int) -> None:
    """Raises InputError where there is no such GPU here, HarnessError where the driver doesn't work."""
    _device(gpu)


def _device(gpu: int) -> ctypes.c_int:
    # Read by cuInit. Else the fastest GPU would be the first, and the servers that harness starts get it too.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    try:
        _call("cuInit", ctypes.c_uint(0))
    except CudaError as error:
        if error.code != _NO_DEVICE:
            raise
        raise InputError(
            "`shared_memory: cuda` needs a GPU, and the driver has none to offer here (CUDA_VISIBLE_DEVICES "
            "hides GPUs): set it to `system` or `none`"
        ) from error
    count, device = ctypes.c_int(), ctypes.c_int()
    _call("cuDeviceGetCount", ctypes.byref(count))
    if gpu >= count.value:
        raise InputError(
            f"there is no GPU {gpu} here for `shared_memory: cuda`, CUDA sees {count.value} (fewer where "
            "CUDA_VISIBLE_DEVICES is set): name another first in `server.gpus`"
        )
    _call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(gpu))
    return device


@cache
def _library(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise InputError(
            f"`shared_memory: cuda` needs NVIDIA's driver, and its {name} can't be loaded here ({error}): "
            "set it to `system` or `none`, or run harness where the GPU is"
        ) from error


def _call(function: str, *arguments: object) -> None:
    try:
        called = getattr(_library(LIBRARY), function)
    except AttributeError as error:
        raise HarnessError(
            f"NVIDIA's driver here has no {function}: install a newer one, or set `shared_memory: system` or "
            "`none`"
        ) from error
    code = called(*arguments)
    if code:
        raise CudaError(function, code)


def _words(code: int) -> str:
    """E.g. "CUDA_ERROR_NOT_SUPPORTED (operation not supported)"."""
    said = []
    for function in ("cuGetErrorName", "cuGetErrorString"):
        text = ctypes.c_char_p()
        with suppress(AttributeError):
            getattr(_library(LIBRARY), function)(ctypes.c_int(code), ctypes.byref(text))
        said.append((text.value or b"").decode(errors="replace"))
    name, words = said
    return f"{name or f'error {code}'} ({words})" if words else name or f"error {code}"
