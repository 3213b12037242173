"""Readings that stay few however long a point lasts: older ones grow together, pair by pair.

Totals (times of processes and of the machine, energy, memory errors) are the later reading's, so that no
figure over a window loses by it but at its edges, where a reading that is missing is put in its place by a
straight line. Levels of a GPU are means over the time that they cover; of memory and temperature the highest
stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any, Generic, Protocol, TypeVar

from harness.schema.samples import GpuProcess, GpuReading, HostReading


class Reading(Protocol):
    @property
    def at_ns(self) -> int: ...


R = TypeVar("R", bound=Reading)
V = TypeVar("V")

Together = Callable[[R, R, int], R]
"""Of the earlier, the later, and when the one before both was: one reading in place of the two."""

MOST = 8192
"""Of the host: at five readings a second all of the first 27 minutes; of a day, one in 11 to 21 s."""

MOST_OF_A_GPU = 131_072
"""At 20 readings a second all of the first 109 minutes; of a day, one in 0.7 to 1.3 s, often enough for what
the figures ask of neighbouring readings. Some 70 MB."""

FIRST_OF_A_GPU = 4096
"""They stay as they are: the idle GPU before the load is among them."""


class Thinning(Generic[R]):
    """Takes readings in the order of time."""

    def __init__(self, together: Together[R], most: int, first: int = 1) -> None:
        """`first` readings stay as they are."""
        self.kept: list[R] = []
        """The first and the latest are among them."""
        self.taken = 0
        """How many readings they are made of."""
        self._together, self._most, self._first = together, max(most, first + 2), first
        self._each = 1
        """So many readings are one of those that are kept."""
        self._in_latest = 0

    def add(self, reading: R) -> None:
        self.taken += 1
        if len(self.kept) > self._first and self._in_latest < self._each:
            self.kept[-1] = self._together(self.kept[-1], reading, self.kept[-2].at_ns)
            self._in_latest += 1
            return
        self.kept.append(reading)
        self._in_latest = 1
        if len(self.kept) > self._most:
            self._halve()

    def _halve(self) -> None:
        first, others = self.kept[: self._first], self.kept[self._first :]
        kept = first
        for place in range(0, len(others), 2):
            pair = others[place : place + 2]
            kept.append(pair[0] if len(pair) < 2 else self._together(pair[0], pair[1], kept[-1].at_ns))
        self._in_latest += 0 if len(others) % 2 else self._each
        self._each *= 2
        self.kept[:] = kept


def of_hosts(earlier: HostReading, later: HostReading, _: int) -> HostReading:
    return replace(
        later,
        server_memory_bytes=_highest((earlier.server_memory_bytes, later.server_memory_bytes)),
        client_memory_bytes=_highest((earlier.client_memory_bytes, later.client_memory_bytes)),
    )


TOTALS = ("energy_j", "ecc_errors")
HIGHEST = ("memory_bytes", "temperature_c")
LISTS = ("throttle_reasons", "foreign_processes")
MEANS = tuple(
    f.name
    for f in fields(GpuReading)
    if f.name not in (*TOTALS, *HIGHEST, *LISTS, "at_ns", "device", "mig_instance", "processes")
)
"""The other values of a GPU."""


def of_gpus(earlier: GpuReading, later: GpuReading, before_ns: int) -> GpuReading:
    """Of one GPU, or one MIG device of it. A value that only one of them has is that."""
    covers = (max(earlier.at_ns - before_ns, 1), max(later.at_ns - earlier.at_ns, 1))
    found: dict[str, Any] = {}
    for name in TOTALS:
        found[name] = _later(getattr(earlier, name), getattr(later, name))
    for name in HIGHEST:
        found[name] = _highest((getattr(earlier, name), getattr(later, name)))
    for name in LISTS:
        found[name] = _all((getattr(earlier, name), getattr(later, name)))
    for name in MEANS:
        found[name] = _mean((getattr(earlier, name), getattr(later, name)), covers)
    return replace(later, **found, processes=_processes(earlier.processes, later.processes))


def _later(earlier: V | None, later: V | None) -> V | None:
    return earlier if later is None else later


def _highest(values: Iterable[Any]) -> Any:
    return max((value for value in values if value is not None), default=None)


def _all(lists: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    known = [each for each in lists if each is not None]
    return tuple(dict.fromkeys(one for each in known for one in each)) if known else None


def _mean(values: tuple[float | None, float | None], covers: tuple[int, int]) -> float | None:
    earlier, later = values
    if earlier is None or later is None:
        return _later(earlier, later)
    share = covers[0] / sum(covers)
    return earlier * share + later * (1 - share)


def _processes(
    earlier: tuple[GpuProcess, ...] | None, later: tuple[GpuProcess, ...] | None
) -> tuple[GpuProcess, ...] | None:
    """Each that one of them lists, with the most memory that it held."""
    if earlier is None or later is None:
        return _later(earlier, later)
    found: dict[int, GpuProcess] = {}
    for process in (*earlier, *later):
        held = (found.get(process.pid, process).memory_bytes, process.memory_bytes)
        found[process.pid] = replace(process, memory_bytes=_highest(held))
    return tuple(found.values())
