"""Records in chunks become the columns of each phase, in little more memory than the columns themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.schema.samples import Measured, Phase, Requests

Chunk = Requests | Mapping[str, npt.NDArray[Any]]
"""Some requests: an array of REQUEST, or its columns by name, `phase` among them."""


class Phases(NamedTuple):
    """The columns of both phases, each in the order its requests were due."""

    warmup: Measured
    measured: Measured


def gather(chunks: Iterable[Chunk], size: int) -> Phases:
    """The columns of at most `size` requests, which may come in any order.

    Requests of several users, or of several load processes, end in another order than they were due in. The
    sort takes 16 bytes a request more, for as long as it lasts.
    """
    warmup, measured = _Growing(size), _Growing(size)
    for chunk in chunks:
        early = chunk["phase"] == Phase.WARMUP
        warmup.add(chunk, early)
        measured.add(chunk, ~early)
    return Phases(warmup.sorted(), measured.sorted())


class _Growing:
    """Room for `size` requests. What is never written to takes no memory."""

    def __init__(self, size: int) -> None:
        self._columns: dict[str, npt.NDArray[Any]] = {
            name: np.empty(size, dtype=dtype)
            for name, dtype in (
                ("request_class", np.uint16),
                ("status", np.uint8),
                ("reason", np.uint16),
                ("intended_ns", np.int64),
                ("sent_ns", np.int64),
                ("completed_ns", np.int64),
            )
        }
        self._end = 0

    def add(self, chunk: Chunk, mine: npt.NDArray[np.bool_]) -> None:
        end = self._end + int(np.count_nonzero(mine))
        for name, column in self._columns.items():
            column[self._end : end] = chunk[name][mine]
        self._end = end

    def sorted(self) -> Measured:
        columns = {name: column[: self._end] for name, column in self._columns.items()}
        due = columns["intended_ns"]
        if np.any(due[1:] < due[:-1]):
            order = np.argsort(due, kind="stable")
            for column in columns.values():
                column[:] = column[order]
        return Measured(**columns)
