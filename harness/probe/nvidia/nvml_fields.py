"""The fields that a device is asked for: each has an answer, or None and the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pynvml

from harness.probe.nvidia.nvml import LOST, REFUSED

T = TypeVar("T")


class NvmlFields:
    """The fields of one device. One that was refused isn't asked for again; other errors may pass."""

    def __init__(self, reasons: dict[str, str] | None = None) -> None:
        """`reasons` are those that are known already. They hold until the device itself is asked."""
        self.lost: str | None = None
        """NVML's error when the device was gone; nothing is asked after that."""
        self.reasons = dict(reasons or {})
        """Why a field has no value, by its name: a short phrase for a reader."""
        self._refused: set[str] = set()

    def ask(self, query: Callable[[], T], *fields: str) -> T | None:
        """The answer, which gives the values of these `fields`."""
        if self.lost or self._refused.issuperset(fields):
            return None
        for field in fields:
            if field not in self._refused:
                self.reasons.pop(field, None)
        try:
            return query()
        except pynvml.NVMLError as error:
            if error.value in LOST:
                self.lost = str(error)
            for field in fields:
                self.failed(field, error)
            return None

    def failed(self, field: str, error: pynvml.NVMLError) -> None:
        """Note that NVML answered the question for this field with an error."""
        if error.value in REFUSED:
            self.refuse(field, reason(error))
        else:
            self.reasons[field] = reason(error)

    def refuse(self, field: str, why: str) -> None:
        """Don't ask for this field again."""
        self._refused.add(field)
        self.reasons[field] = why


def reason(error: pynvml.NVMLError) -> str:
    if error.value == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
        return "this driver doesn't know the call"
    return f"the driver says: {error}"
