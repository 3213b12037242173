"""An open loop whose rate changes steadily."""

from __future__ import annotations

from harness.schema.quantities import RatePerS
from harness.schema.shapes.profile import Profile, RateOverTime, Segment
from harness.schema.shapes.shape import LoadShape


class Ramp(LoadShape):
    """A rate that grows or falls linearly over the measured time."""

    key = "ramp"

    from_per_s: RatePerS
    to_per_s: RatePerS

    @property
    def label(self) -> str:
        return f"ramp {self.from_per_s:g} to {self.to_per_s:g}/s"

    def profile(self, duration_s: float) -> Profile:
        return RateOverTime((Segment(duration_s, self.from_per_s, self.to_per_s),))
