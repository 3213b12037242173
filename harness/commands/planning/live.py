"""A live server on which a plan measures what it lacks, or whether it was right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.commands.measured import measured
from harness.commands.open_loop import at_rate, saturating
from harness.commands.progress import Progress
from harness.commands.run import Models
from harness.commands.sittings import check_environment
from harness.measurement.session import Session
from harness.schema.expansion import point_at
from harness.schema.point import Setting
from harness.schema.result import PointResult
from harness.schema.scenario import Measure, RequestClass, Scenario
from harness.store.run_folder import RunFolder
from harness.store.scenario_file import LoadedScenario
from harness.triton.as_loaded import as_served

WARMUP_S = 1.0


@dataclass
class Live:
    """What each measurement needs."""

    session: Session
    folder: RunFolder
    loaded: LoadedScenario
    models: Models
    progress: Progress
    configuration: Mapping[str, Setting]
    measured: int = 0

    def alone(self, only: RequestClass, seconds: float) -> PointResult:
        """Under a single user, whose requests wait for no others."""
        return self._measure({"load.concurrency": 1}, seconds, only)

    def saturated(self, only: RequestClass | None, seconds: float) -> PointResult:
        """Under as many users as fill every batch."""
        point = point_at(self.loaded.scenario, self.configuration)
        server = as_served(self.models[point.dtype], point.server)
        sizes = [_size(each) for each in self.loaded.scenario.requests if only is None or each is only]
        load = saturating(server.instances or 1, server.max_batch or 1, min(sizes))
        return self._measure(load, seconds, only)

    def rated(self, rate_per_s: float, seconds: float) -> PointResult:
        """All request classes as they are mixed, in an open loop."""
        return self._measure(at_rate(self.loaded.scenario, rate_per_s), seconds, None)

    def _measure(self, load: Mapping[str, Setting], seconds: float, only: RequestClass | None) -> PointResult:
        """Of one request class, or of all as they are mixed. Raises ServerError where the server refuses the
        configuration, or ends."""
        scenario = self._asked(seconds, only)
        settings = {path: v for path, v in self.configuration.items() if _of_classes(path, scenario)}
        point = point_at(scenario, {**settings, **load})
        self.measured += 1
        with self.progress.point(self.measured, self.measured, point, said=True):
            model = self.models[point.dtype]
            self.session.serve(model, point.server)
            if self.measured == 1:
                check_environment(self.folder, self.session.environment, measured=False)
            return measured(self.session, point, model, self.folder, base_dir=self.loaded.folder).result

    def _asked(self, seconds: float, only: RequestClass | None) -> Scenario:
        """Another seed for each measurement: no two have the same requests."""
        scenario = self.loaded.scenario
        return scenario.model_copy(
            update={
                "requests": scenario.requests if only is None else (only.model_copy(update={"weight": 1.0}),),
                "measure": Measure(
                    warmup_s=WARMUP_S, duration_s=round(seconds, 3), timeout_s=scenario.measure.timeout_s
                ),
                "seed": (scenario.seed + self.measured) % 2**32,
            }
        )


def _size(request: RequestClass) -> int:
    """Inferences in one; of a scenario with one workload it is a plain value."""
    return request.batch if isinstance(request.batch, int) else request.batch[0]


def _of_classes(path: str, scenario: Scenario) -> bool:
    """Whether a setting is of the server, or of a request class that the scenario has."""
    if not path.startswith("requests."):
        return True
    return any(path.startswith(f"requests.{each.name}.") for each in scenario.requests)
