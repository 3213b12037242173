"""What the clock of another machine shows, by that of the machine that leads.

The offset comes from a message and its answer: the answer's time was taken somewhere between the two ends of
the round trip, so it is known to plus or minus half of it, however unequal the two ways are (Cristian,
Distributed Computing 3, 1989). Of several round trips the fastest says most. Two such measurements, before
the first phase and after the last, give the drift between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

Round = tuple[int, int, int]
"""When it was sent (our clock), answered (theirs), and when the answer came (ours), in nanoseconds."""
Ns = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement of their clock against ours."""

    at_ns: int
    """When it was taken, on our clock."""
    offset_ns: int
    """Their clock less ours."""
    error_ns: int
    """The offset is right to plus or minus this."""

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> Reading:
        sent, answered, came = min(rounds, key=lambda r: r[2] - r[0])
        middle = (sent + came) // 2
        return cls(middle, answered - middle, (came - sent + 1) // 2)


@dataclass(frozen=True, slots=True)
class Clock:
    """Their clock: readings in order of time, at least one. This machine's own clock needs none."""

    readings: tuple[Reading, ...]

    @property
    def offset_s(self) -> float:
        """The offset at the last reading."""
        return self.readings[-1].offset_ns / 1e9

    @property
    def error_s(self) -> float:
        """The error of the worst reading: between two, the offset is no better known than by either."""
        return max(reading.error_ns for reading in self.readings) / 1e9

    def theirs(self, ours_ns: int) -> int:
        """What their clock shows when ours shows `ours_ns`."""
        return ours_ns + int(self._offset_ns(np.array([ours_ns - self.readings[0].at_ns]))[0])

    @overload
    def ours(self, theirs_ns: int) -> int: ...
    @overload
    def ours(self, theirs_ns: Ns) -> Ns: ...
    def ours(self, theirs_ns: int | Ns) -> int | Ns:
        """What our clock shows when theirs shows `theirs_ns`."""
        since = np.asarray(theirs_ns) - (self.readings[0].at_ns + self.readings[0].offset_ns)
        # The drift is some millionths: the offset's change over the offset's own shift is far under 1 ns.
        ours = np.asarray(theirs_ns) - self._offset_ns(since)
        return ours if isinstance(theirs_ns, np.ndarray) else int(ours)

    def _offset_ns(self, since_ns: Ns) -> Ns:
        """The offset at times after the first reading: linear between first and last, and beyond them."""
        first, last = self.readings[0], self.readings[-1]
        length = last.at_ns - first.at_ns
        if not length:
            return np.full(since_ns.shape, first.offset_ns, np.int64)
        slope = (last.offset_ns - first.offset_ns) / length
        drifted: Ns = first.offset_ns + np.rint(since_ns * slope).astype(np.int64)
        return drifted
