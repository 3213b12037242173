"""`bisect.json` in a folder of `harness ab --bisect`."""

from __future__ import annotations

from pathlib import Path

from harness import atomic
from harness.schema.bisect_result import Bisection

NAME = "bisect.json"


def write(folder: Path, found: Bisection) -> None:
    """Raises HarnessError where it can't be written."""
    atomic.write_text(folder / NAME, found.model_dump_json(indent=1))
