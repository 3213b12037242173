"""One side of a comparison: its scenario, its models, its run's folder, and the servers it lives on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.commands.comparing.dotted import differing, flat
from harness.commands.comparing.environment_changes import of_the_machine
from harness.commands.progress import Progress
from harness.commands.run import Models
from harness.commands.sittings import check_models
from harness.measurement.session import Session
from harness.measurement.testbed import Testbed, most_shared
from harness.schema.ab_result import ArmFigures, ArmName
from harness.schema.errors import InputError
from harness.schema.expansion import expand
from harness.schema.point import Point, ServerSettings
from harness.schema.scenario import Measure
from harness.schema.served_model import ServedModel
from harness.store.run_folder import RunFolder, begin_run
from harness.store.scenario_file import LoadedScenario

WARMUP_S = 1.0
"""On servers that have just been started."""

SHARED = {"foreign_cpu": 1.0, "stolen_cpu": 1.0, "drift": 1000.0}
"""Limits that nothing exceeds, of what the sides of a comparison share."""


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    """Of its run's folder."""
    loaded: LoadedScenario
    models: Models
    folder: RunFolder
    testbed: Testbed

    @classmethod
    def made(cls, name: str, loaded: LoadedScenario, models: Models, testbed: Testbed, place: Path) -> Side:
        """With a run of its own in `place`. Raises HarnessError."""
        path = place / name
        path.mkdir()
        folder = begin_run(path, loaded, one_after_another=True)
        check_models(folder, tuple(models.values()), measured=False)
        own = replace(testbed, target=replace(testbed.target, repository=path / "model_repository"))
        return cls(name, loaded, models, folder, own)

    def points(self, seconds: float, number: int, *, in_turns: bool) -> tuple[Point, ...]:
        """As they are measured in a round: each has its own requests, which are those of the other side.

        What disturbs the whole machine disturbs both sides alike where they take turns. It makes rounds
        differ, which their intervals hold, and invalidates none unless the scenario says so.
        """
        scenario = self.loaded.scenario
        measure = Measure(warmup_s=WARMUP_S, duration_s=seconds, timeout_s=scenario.measure.timeout_s)
        given = scenario.validity.model_fields_set if in_turns else set(SHARED)
        validity = {name: limit for name, limit in SHARED.items() if name not in given}
        asked = {
            "measure": measure,
            "seed": (scenario.seed + number) % 2**32,
            "validity": scenario.validity.model_copy(update=validity),
        }
        return expand(scenario.model_copy(update=asked), as_loaded=not self.testbed.target.starts)

    @contextmanager
    def session(self, progress: Progress) -> Iterator[Session]:
        shared = most_shared(self.loaded.points)
        with self.testbed.session(self.folder.path / "server.log", progress, shared_memory=shared) as session:
            yield session

    def figures(self, name: ArmName) -> ArmFigures:
        """As that arm of a comparison."""
        return ArmFigures(
            name=name,
            scenario=self.loaded.name,
            models=tuple(self.models.values()),
            environment=self.folder.about(1).environment,
            samples=self.name,
        )


def differences(baseline: Side, candidate: Side) -> dict[str, tuple[str, str]]:
    """What of the scenarios, the models and the servers isn't the same, by dotted path."""
    served = (side.folder.about(1).environment for side in (baseline, candidate))
    return differing(_told(baseline), _told(candidate)) | of_the_machine(*served)


def _told(side: Side) -> dict[str, str]:
    """All that its scenario asks for and its models are, by dotted path."""
    scenario = side.loaded.scenario
    found = flat(scenario.model_dump(mode="json", exclude={"regression", "requests"}, exclude_none=True))
    for request in scenario.requests:
        asked = request.model_dump(mode="json", exclude_none=True)
        found |= flat(asked, f"requests.{request.name}")
    for model in side.models.values():
        name = f"model in {model.dtype}" if model.dtype else "model"
        found[f"sha256 of the {name}"] = model.sha256[:16]
        if model.parity is not None:
            errors = [case.max_rel_error for case in model.parity.cases]
            found[f"largest error of the {name}"] = f"{max(errors, default=0.0):.2g}"
    return found


def check_apart(loaded: Sequence[LoadedScenario], models: Sequence[Models]) -> None:
    """Raises InputError where two scenarios ask the same model of one server that runs already, or would load
    it anew under each other."""
    one, other = (
        {model.name: model.version if isinstance(model, ServedModel) else None for model in of_side.values()}
        for of_side in models
    )
    if not (both := sorted(one.keys() & other.keys())):
        return
    remedy = "name another server with --candidate-url"
    for name in both:
        # Without a number it is the server's choice, and its statistics are those of all versions.
        if None in (one[name], other[name]) or one[name] == other[name]:
            raise InputError(
                f"both would ask {name} of the same server, whose statistics can't be told apart: {remedy}, "
                "or give another model, or each a version of its own"
            )
    if any(point.server != ServerSettings.kept() for each in loaded for point in each.points):
        raise InputError(
            f"both would load {', '.join(both)} anew on the same server: {remedy}, or leave `server` out of "
            "the scenarios"
        )


def check_alike(baseline: LoadedScenario, candidate: LoadedScenario, *, in_turns: bool) -> None:
    """Raises InputError where two scenarios don't ask for the same, so that no difference is the server's,
    and for what can't be sent `in_turns`."""
    one, other = baseline.points, candidate.points
    for point in (*one, *other) if in_turns else ():
        if point.shared_memory != "none":
            raise InputError(
                "arms that take turns don't share memory with servers: set shared_memory to none, or give "
                "--apart"
            )
        if not point.load.steady_by_design:
            raise InputError(
                f"a load that changes by design ({point.load.label}) can't be sent in turns: give "
                "load.concurrency or load.rate_per_s, or --apart"
            )
    if len(one) != len(other):
        raise InputError(
            f"{baseline.name} has {len(one)} points and {candidate.name} {len(other)}: give both the same"
        )
    for before, after in zip(one, other, strict=True):
        for what, of_each in (
            ("load", (before.load, after.load)),
            ("protocol", (before.protocol, after.protocol)),
            ("requests", tuple([(k.name, k.weight, k.batch) for k in p.requests] for p in (before, after))),
            ("timeout", (before.measure.timeout_s, after.measure.timeout_s)),
        ):
            if of_each[0] != of_each[1]:
                raise InputError(
                    f"{baseline.name} and {candidate.name} differ in their {what} "
                    f"(point {before.id} and point {after.id}): what is compared gets the same"
                )
