"""Stands for Triton's module of that name, so that the backend can be imported by a test.

A tensor of the host or of a "device", whose memory is the host's too. As Triton's own, it takes a DLPack
capsule over: gives it back when it dies, and refuses one that was taken before.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np


class TritonModelException(Exception):
    pass


class TritonError:
    def __init__(self, message: str) -> None:
        self.said = message

    def message(self) -> str:
        return self.said


class Logger:
    said: list[str] = []  # noqa: RUF012  one log for the module, as in Triton

    @classmethod
    def log_info(cls, message: str) -> None:
        cls.said.append(message)

    log_warn = log_info


class _Capsule:
    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


class Tensor:
    def __init__(self, name: str, array: Any, *, on_device: bool = False) -> None:
        self._name = name
        self.array = array
        self.on_device = on_device

    @staticmethod
    def from_dlpack(name: str, capsule: Any) -> Tensor:
        array = np.from_dlpack(_Capsule(capsule))
        name_of = ctypes.pythonapi.PyCapsule_GetName
        name_of.restype, name_of.argtypes = ctypes.c_char_p, (ctypes.py_object,)
        assert name_of(capsule) == b"used_dltensor"
        return Tensor(name, array)

    def name(self) -> str:
        return self._name

    def is_cpu(self) -> bool:
        return not self.on_device

    def to_dlpack(self) -> Any:
        return self.array.__dlpack__()

    def __dlpack__(self, **_: Any) -> Any:
        assert not self.on_device, "numpy can't read a device"
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


class InferenceRequest:
    def __init__(self, inputs: list[Tensor], wanted: list[str]) -> None:
        self._inputs = inputs
        self._wanted = wanted

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def requested_output_names(self) -> list[str]:
        return self._wanted


class InferenceResponse:
    def __init__(self, output_tensors: list[Tensor] | None = None, error: TritonError | None = None) -> None:
        self.outputs = {tensor.name(): tensor for tensor in output_tensors or []}
        self.error = error
