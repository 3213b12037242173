"""One run as it is compared: its result, its search where it was one, and the points that speak for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from harness.analysis.served_on import counted, gpus_served_on, is_elsewhere
from harness.schema.compare_result import ComparedRun
from harness.schema.point import Setting
from harness.schema.result import Environment, PointResult, RunResult
from harness.schema.tune_result import Candidate, TuneResult

USABLE = ("rated", "served", "alone")
"""What a step of a search told, where its point has figures."""


@dataclass(frozen=True)
class Subject:
    """One run. `environment` is that of `run`, which is known of everything that is compared."""

    run: RunResult
    environment: Environment
    search: TuneResult | None = None

    @cached_property
    def points(self) -> Sequence[PointResult]:
        """Of a search those of the recommended configuration that it could use, else all."""
        if self.search is None:
            return self.run.points
        chosen = self.search.recommended
        used = {s.point for s in self.search.steps if s.candidate == chosen and s.told in USABLE}
        return [point for point in self.run.points if point.id in used]

    @property
    def recommended(self) -> Candidate | None:
        """What a search recommends."""
        if self.search is None or self.search.recommended is None:
            return None
        return self.search.candidates[self.search.recommended]

    @property
    def device(self) -> Literal["cpu", "gpu", "unknown"]:
        """What the model was computed on."""
        provider = self.environment.execution_provider
        if provider is None:
            return "unknown"
        return "cpu" if provider.startswith("CPU") else "gpu"

    @property
    def gpus(self) -> int | None:
        """How many GPUs it was computed on; None for a CPU, a part of a GPU, and where it isn't known."""
        parts = any(gpu.mig_instance is not None for gpu in self.environment.gpus)
        return None if parts or self.device != "gpu" else len(gpus_served_on(self.run)) or None

    @property
    def hardware_name(self) -> str:
        """What the results call the hardware that it was computed on."""
        where = self.environment
        names = counted(gpus_served_on(self.run))
        if self.device == "gpu" and names:
            return names
        if is_elsewhere(where):
            return f"the server at {where.server_url}"
        return f"{where.cpu}, {where.cores} cores"

    @property
    def record(self) -> ComparedRun:
        return ComparedRun(
            run_id=self.run.run_id,
            path=self.run.path,
            scenario=self.run.scenario,
            command="run" if self.search is None else "tune",
            started_at=self.run.started_at,
        )


def configuration_of(point: PointResult) -> dict[str, Setting | None]:
    """How the model was served, on a server that already ran as it was loaded there."""
    found = dict(point.point.configuration)
    if point.loaded is not None:
        found |= {f"server.{k}": v for k, v in point.loaded.model_dump().items() if f"server.{k}" in found}
    return found
