"""The one door to the driver: every call of NVML that harness makes passes here, where a recorder may listen.

Calls have the names that pynvml gives them, which are those of NVIDIA's "NVML API Reference"; answers are
plain numbers and texts, as NVML gives them (milliwatts, megahertz, percent). pynvml loads the driver's
`libnvidia-ml.so.1` with the dynamic linker's usual search.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pynvml

from harness.probe.nvidia.recording import Recorder

T = TypeVar("T")

REFUSED = (
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_NO_PERMISSION,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    pynvml.NVML_ERROR_DEPRECATED,
)
"""Answers that stay the same however often a call is made again."""

LOST = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED)

_FIELD_VALUE = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: "usVal",
}


@dataclass(frozen=True, slots=True)
class Handle:
    """A GPU or a MIG device as NVML knows it."""

    name: str
    """The GPU's index, "0"; of a MIG device also its own under that GPU, "0/1"."""
    pointer: Any


class Nvml:
    """Every method raises pynvml.NVMLError where NVML answers with an error, and nothing else."""

    def __init__(self, recorder: Recorder | None = None) -> None:
        self._recorder = recorder

    def open(self) -> None:
        self.noted(None, "nvmlInit", pynvml.nvmlInit)

    def close(self) -> None:
        pynvml.nvmlShutdown()

    def device(self, index: int) -> Handle:
        pointer = self.noted(
            str(index), "nvmlDeviceGetHandleByIndex", lambda: pynvml.nvmlDeviceGetHandleByIndex(index)
        )
        return Handle(str(index), pointer)

    def mig_device(self, gpu: Handle, index: int) -> Handle:
        """NVML_ERROR_NOT_FOUND where there is none of this index."""
        name = f"{gpu.name}/{index}"
        pointer = self.noted(
            name,
            "nvmlDeviceGetMigDeviceHandleByIndex",
            lambda: pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu.pointer, index),
        )
        return Handle(name, pointer)

    def numbers(self, of: Handle | None, call: str, *arguments: int) -> tuple[int, ...]:
        """What `call` returns, in the order of its C parameters or of its structure's fields."""
        return self._asked(of, call, arguments, _numbers, lambda answer: " ".join(map(str, answer)))

    def number(self, of: Handle | None, call: str, *arguments: int) -> int:
        return self.numbers(of, call, *arguments)[0]

    def text(self, of: Handle | None, call: str) -> str:
        return self._asked(of, call, (), _text, str)

    def field(self, of: Handle, field: int) -> float:
        """One of NVML's field values (NVML_FI_*), for the GPU as a whole."""

        def asked() -> float:
            (value,) = pynvml.nvmlDeviceGetFieldValues(of.pointer, [field])
            if value.nvmlReturn != pynvml.NVML_SUCCESS:
                raise pynvml.NVMLError(value.nvmlReturn)
            kind = _FIELD_VALUE.get(value.valueType)
            if kind is None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)
            return float(getattr(value.value, kind))

        return self.noted(of.name, f"nvmlDeviceGetFieldValues({field})", asked, repr)

    def processes(self, of: Handle, call: str) -> list[tuple[int, int | None]]:
        """Ids and the memory of each in bytes, None where the driver doesn't tell."""

        def shown(listed: list[tuple[int, int | None]]) -> str:
            return " ".join(f"{pid}:{'-' if used is None else used}" for pid, used in listed)

        return self._asked(of, call, (), _processes, shown)

    def noted(
        self, of: str | None, call: str, query: Callable[[], T], shown: Callable[[T], str] = lambda _: ""
    ) -> T:
        """Make one call; `shown` is what its answer looks like in a recording."""
        if self._recorder is None:
            return query()
        try:
            answer = query()
        except pynvml.NVMLError as error:
            self._recorder.note(of, call, error.value, "")
            raise
        self._recorder.note(of, call, pynvml.NVML_SUCCESS, shown(answer))
        return answer

    def _asked(
        self,
        of: Handle | None,
        call: str,
        arguments: tuple[int, ...],
        plain: Callable[[Any], T],
        shown: Callable[[T], str],
    ) -> T:
        def asked() -> T:
            function = getattr(pynvml, call, None)
            if function is None:  # an older pynvml than the driver
                raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
            try:
                return plain(function(*pointer, *arguments))
            except UnicodeDecodeError:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN) from None

        pointer = () if of is None else (of.pointer,)
        written = f"{call}({','.join(map(str, arguments))})" if arguments else call
        return self.noted(None if of is None else of.name, written, asked, shown)


def _numbers(answer: Any) -> tuple[int, ...]:
    if isinstance(answer, int):
        return (answer,)
    if isinstance(answer, list | tuple):
        return tuple(answer)
    return tuple(getattr(answer, name) for name, _ in answer._fields_)


def _text(answer: str | bytes) -> str:
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer


def _processes(answer: Any) -> list[tuple[int, int | None]]:
    return [(process.pid, process.usedGpuMemory) for process in answer]
