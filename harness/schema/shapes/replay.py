"""An open loop whose times were recorded."""

from __future__ import annotations

from typing import ClassVar

from harness.schema.quantities import FileName
from harness.schema.shapes.profile import Profile, RecordedTimes
from harness.schema.shapes.shape import LoadShape


class Replay(LoadShape):
    """Arrivals as they were recorded: a text file, one time in seconds per line, ascending."""

    key: ClassVar[str] = "replay"
    files: ClassVar[tuple[str, ...]] = ("file",)
    spaced: ClassVar[bool] = False

    file: FileName

    @property
    def label(self) -> str:
        return f"replay {self.file}"

    def profile(self, duration_s: float) -> Profile:  # noqa: ARG002  (the file decides)
        return RecordedTimes(self.file, self.path("file"))
