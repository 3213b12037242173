"""A closed loop."""

from __future__ import annotations

from harness.schema.quantities import Users
from harness.schema.shapes.shape import LoadShape


class Concurrency(LoadShape):
    """Users that each wait for their answer before they send again."""

    key = "concurrency"
    varied = ("concurrency",)
    spaced = False
    steady_by_design = True

    concurrency: Users

    @property
    def label(self) -> str:
        return f"concurrency {self.concurrency}"

    @property
    def short_label(self) -> str:
        return str(self.concurrency)

    @property
    def users(self) -> int:
        return self.concurrency
