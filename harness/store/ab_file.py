"""`ab.json` in a folder under `results/`: two arms and what they differ in, whole after each round."""

from __future__ import annotations

from pathlib import Path

from harness import atomic
from harness.schema.ab_result import Comparison
from harness.store.record import MOST_BYTES, read_record

NAME = "ab.json"


def write(folder: Path, result: Comparison) -> None:
    """Raises HarnessError where it can't be written."""
    atomic.write_text(folder / NAME, result.model_dump_json(indent=1))


def read(folder: Path) -> Comparison:
    """Raises NotWhole where the folder has none, or one that can't be read."""
    return read_record(folder / NAME, Comparison.model_validate_json, 10 * MOST_BYTES, known=1)
