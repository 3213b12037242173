"""An open loop with a burst."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.schema.quantities import RatePerS, Seconds
from harness.schema.shapes.profile import Profile, RateOverTime, Segment
from harness.schema.shapes.shape import LoadShape


class Spike(LoadShape):
    """A base rate with one rectangle of a higher rate on it."""

    key = "spike"

    base_per_s: RatePerS
    peak_per_s: RatePerS
    at_s: Annotated[float, Field(ge=0, le=86_400)]
    for_s: Seconds

    @property
    def label(self) -> str:
        return f"spike {self.base_per_s:g} to {self.peak_per_s:g}/s"

    def profile(self, duration_s: float) -> Profile:
        start_s = min(self.at_s, duration_s)
        stop_s = min(self.at_s + self.for_s, duration_s)
        return RateOverTime(
            (
                Segment(start_s, self.base_per_s, self.base_per_s),
                Segment(stop_s, self.peak_per_s, self.peak_per_s),
                Segment(duration_s, self.base_per_s, self.base_per_s),
            )
        )
