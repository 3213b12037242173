"""`compare.json` in a folder under `results/`: machines side by side."""

from __future__ import annotations

from pathlib import Path

from harness import atomic
from harness.schema.compare_result import HardwareComparison
from harness.store.record import MOST_BYTES, read_record

NAME = "compare.json"


def write(folder: Path, result: HardwareComparison) -> None:
    """Raises HarnessError where it can't be written."""
    atomic.write_text(folder / NAME, result.model_dump_json(indent=1), "make room, then compare again")


def read(folder: Path) -> HardwareComparison:
    """Raises NotWhole where the folder has none, or one that can't be read."""
    return read_record(folder / NAME, HardwareComparison.model_validate_json, 10 * MOST_BYTES)
