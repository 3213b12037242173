"""An open loop whose times were recorded."""

from __future__ import annotations

from harness.schema.quantities import FileName
from harness.schema.shapes.profile import Profile, RecordedTimes
from harness.schema.shapes.shape import LoadShape


class Replay(LoadShape):
    """Arrivals as they were recorded: a text file, one time in seconds per line, ascending."""

    key = "replay"
    files = ("file",)
    spaced = False

    file: FileName

    @property
    def label(self) -> str:
        return f"replay {self.file}"

    def profile(self, duration_s: float) -> Profile:  # noqa: ARG002  (the file decides)
        return RecordedTimes(self.file, self.path("file"))
