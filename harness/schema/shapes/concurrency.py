"""A closed loop."""

from __future__ import annotations

from typing import ClassVar

from harness.schema.quantities import Users
from harness.schema.shapes.shape import LoadShape


class Concurrency(LoadShape):
    """Users that each wait for their answer before they send again."""

    key: ClassVar[str] = "concurrency"
    varied: ClassVar[tuple[str, ...]] = ("concurrency",)
    spaced: ClassVar[bool] = False
    steady_by_design: ClassVar[bool] = True

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
