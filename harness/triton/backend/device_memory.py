"""Tensors in a device's memory: taken from Triton, cut into rows, copied, and handed back, by DLPack.

DLPack is a C structure in a Python capsule (dlpack.h, version 0.8). It is read and made here by ctypes,
because no library at hand does it for a GPU, and because ONNX Runtime knows no bool in it: what goes to ONNX
Runtime goes as bytes or by address. Nothing here names a device's kind: the tests run every line on the CPU.

It imports only the standard library, numpy and onnxruntime, because the backend runs outside the harness
package.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

Device = tuple[str, int]
"""ONNX Runtime's name of a kind of device ("cuda", "cpu") and the index of the device."""

HOST: Device = ("cpu", 0)

_KINDS = {1: "cpu", 2: "cuda", 3: "cpu"}  # DLDeviceType: CPU, CUDA, and the host's memory pinned for CUDA
_NUMBERS = {"cpu": 1, "cuda": 2}
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}  # DLDataTypeCode by numpy's kind of dtype
_NUMPY = {code: kind for kind, code in _CODES.items()}


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))


_NAME = b"dltensor"
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_unused = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)

_lent: dict[int, tuple[Any, ...]] = {}
"""What capsules of ours point to, by the address of their structure, until their taker gives it back."""


def _give_back(address: int) -> None:
    _lent.pop(address, None)


def _destroy(capsule: int) -> None:
    """A capsule that nobody took (its taker renames it) gives back at its end."""
    if _unused(capsule, _NAME):
        _lent.pop(_address(capsule, _NAME), None)


# Kept here, because C holds their addresses.
_deleter = _Deleter(_give_back)
_destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_destroy)


class Memory:
    """A tensor of contiguous rows at an address, which is valid while `owner` lives.

    It has as much of numpy's array as the backend needs: `shape`, `dtype`, `size`, `len` and slices of rows.
    """

    def __init__(self, address: int, shape: tuple[int, ...], dtype: Any, device: Device, owner: Any) -> None:
        self.address = address
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.device = device
        self.owner = owner

    @classmethod
    def of_triton(cls, tensor: Any) -> Memory:
        """One of Triton's tensors, where it is, without a copy. Triton gives no strides: it is contiguous."""
        capsule = tensor.to_dlpack()
        found = _Managed.from_address(_pointer(capsule, _NAME)).tensor
        return cls(
            (found.data or 0) + found.byte_offset,
            tuple(found.shape[: found.ndim]),
            f"{_NUMPY[found.code]}{found.bits // 8}",
            (_KINDS[found.device_type], found.device_id),
            capsule,
        )

    @classmethod
    def of_onnxruntime(cls, value: Any, dtype: Any, device: Device) -> Memory:
        return cls(value.data_ptr(), tuple(value.shape()), dtype, device, value)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * int(self.dtype.itemsize)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Memory:
        start, stop, _ = rows.indices(len(self))
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        return Memory(
            self.address + start * row, (stop - start, *self.shape[1:]), self.dtype, self.device, self.owner
        )

    def capsule(self) -> Any:
        """A DLPack capsule of this memory, for one taker; the owner lives until that one is done."""
        shape = (ctypes.c_int64 * len(self.shape))(*self.shape)
        kind, index = self.device
        managed = _Managed()
        managed.deleter = _deleter
        managed.tensor = _Tensor(
            data=self.address,
            device_type=_NUMBERS[kind],
            device_id=index,
            ndim=len(self.shape),
            code=_CODES[self.dtype.kind],
            bits=8 * self.dtype.itemsize,
            lanes=1,
            shape=shape,
        )
        address = ctypes.addressof(managed)
        _lent[address] = (managed, shape, self.owner)
        return _new(address, _NAME, ctypes.cast(_destructor, ctypes.c_void_p))

    def fill(self, source: Any) -> None:
        """Copy `source`, a numpy array or a Memory of as many bytes, into this; done when it returns."""
        if self.nbytes == 0:
            return
        if not isinstance(source, Memory):
            array = np.ascontiguousarray(source)
            source = Memory(array.ctypes.data, array.shape, array.dtype, HOST, array)
        self._as_bytes().update_inplace(source._as_bytes())

    def _as_bytes(self) -> Any:
        from onnxruntime import OrtValue

        flat = Memory(self.address, (self.nbytes,), np.uint8, self.device, self.owner)
        return OrtValue.from_dlpack(flat.capsule())


def allocated(shape: tuple[int, ...], dtype: Any, device: Device) -> Memory:
    """Memory of ONNX Runtime's own, with whatever is in it."""
    from onnxruntime import OrtValue

    value = OrtValue.ortvalue_from_shape_and_type(list(shape), np.dtype(dtype), *device)
    return Memory.of_onnxruntime(value, dtype, device)


def fill_rows(target: Memory, parts: list[Any]) -> None:
    """Put the rows of `parts` (arrays, or memory of any device) one after another into `target`.

    Parts that are all on the host go over together.
    """
    if len(parts) == 1:
        target.fill(parts[0])
    elif not any(isinstance(part, Memory) for part in parts):
        target.fill(np.concatenate(parts))
    else:
        start = 0
        for part in parts:
            target[start : start + len(part)].fill(part)
            start += len(part)
