"""Readings of the host that stay few however long a point lasts: older ones grow together, pair by pair.

The times of processes and of the machine are totals, so that no figure over a window loses by it but at its
edges, where a reading that is missing is put in its place by a straight line. Of levels the highest stays.
"""

from __future__ import annotations

from dataclasses import replace

from harness.schema.samples import HostReading

MOST = 8192
"""At five readings a second all of the first 27 minutes; of a day, one in 11 to 21 s. Some 3 MB."""


class Thinning:
    """Takes readings in the order of time."""

    def __init__(self, most: int = MOST) -> None:
        self.kept: list[HostReading] = []
        """The first and the latest are among them."""
        self._most = most
        self._each = 1
        """So many readings are one of those that are kept."""
        self._in_latest = 0

    def add(self, reading: HostReading) -> None:
        if len(self.kept) > 1 and self._in_latest < self._each:
            self.kept[-1] = _together(self.kept[-1], reading)
            self._in_latest += 1
            return
        self.kept.append(reading)
        self._in_latest = 1
        if len(self.kept) > self._most:
            self._halve()

    def _halve(self) -> None:
        first, *others = self.kept
        pairs = [_together(*others[i : i + 2]) for i in range(0, len(others), 2)]
        self._in_latest += 0 if len(others) % 2 else self._each
        self._each *= 2
        self.kept[:] = [first, *pairs]


def _together(earlier: HostReading, later: HostReading | None = None) -> HostReading:
    if later is None:
        return earlier
    return replace(
        later,
        server_memory_bytes=_higher(earlier.server_memory_bytes, later.server_memory_bytes),
        client_memory_bytes=_higher(earlier.client_memory_bytes, later.client_memory_bytes),
    )


def _higher(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)
