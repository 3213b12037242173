"""What an open loop sends, as plain data: a rate over time, or the times themselves.

All that the load path knows of a shape of load. A closed loop has no profile, only its users.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.schema.errors import InputError


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time in which the rate changes linearly. It begins where the one before it ends."""

    end_s: float
    """From the phase's start."""
    first_per_s: float
    last_per_s: float


@dataclass(frozen=True, slots=True)
class RateOverTime:
    """A rate from the phase's start on; `load.arrivals` says how the requests are spaced at that rate.

    Raises InputError for what is no rate: a negative or infinite one, or segments that go back in time.
    """

    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        if not self.segments:
            raise InputError("the load has no rate at any time: mend the package that adds its shape")
        before_s = 0.0
        for each in self.segments:
            rates = (each.first_per_s, each.last_per_s)
            good = before_s <= each.end_s < math.inf and all(0 <= rate < math.inf for rate in rates)
            if not good:
                raise InputError(
                    f"the load has no rate up to {each.end_s:g} s (from {each.first_per_s:g}/s to "
                    f"{each.last_per_s:g}/s, after {before_s:g} s): give it values whose rate is never "
                    "under 0, or mend the package that adds its shape"
                )
            before_s = each.end_s

    @classmethod
    def constant(cls, rate_per_s: float, duration_s: float) -> RateOverTime:
        return cls((Segment(duration_s, rate_per_s, rate_per_s),))


@dataclass(frozen=True, slots=True)
class GivenTimes:
    """Send times in seconds from the phase's start, ascending. Those past the phase's end aren't sent."""

    seconds: Sequence[float]


@dataclass(frozen=True, slots=True)
class RecordedTimes:
    """The same in a text file of the scenario's folder, one time a line."""

    file: str
    key: str
    """The scenario's key that names it, for what is said of a wrong one."""


Profile = RateOverTime | GivenTimes | RecordedTimes
