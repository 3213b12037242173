"""An open loop of one rate."""

from __future__ import annotations

from harness.schema.quantities import RatePerS
from harness.schema.shapes.profile import Profile, RateOverTime
from harness.schema.shapes.shape import LoadShape


class Rate(LoadShape):
    """Requests a second, whatever the server does."""

    key = "rate_per_s"
    varied = ("rate_per_s",)
    steady_by_design = True

    rate_per_s: RatePerS

    @property
    def label(self) -> str:
        return f"{self.rate_per_s:g}/s"

    @property
    def short_label(self) -> str:
        return self.label

    @property
    def nominal_rate_per_s(self) -> float:
        return self.rate_per_s

    def profile(self, duration_s: float) -> Profile:
        return RateOverTime.constant(self.rate_per_s, duration_s)
