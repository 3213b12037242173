"""`plan.json` in a folder under `results/`: a plan, and whether its prediction held."""

from __future__ import annotations

from harness import atomic
from harness.schema.plan_result import PlanResult
from harness.store.record import read_record
from harness.store.run_folder import RunFolder

NAME = "plan.json"


def write(folder: RunFolder, result: PlanResult) -> None:
    """Raises HarnessError where it can't be written."""
    atomic.write_text(folder.path / NAME, result.model_dump_json(indent=1), "make room, then plan again")


def read(folder: RunFolder) -> PlanResult:
    """Raises NotWhole where the folder has none, or one that can't be read."""
    return read_record(folder.path / NAME, PlanResult.model_validate_json, known=1)
