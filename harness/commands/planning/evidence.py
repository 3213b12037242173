"""What runs and searches measured of a scenario's requests, by hardware and by how it was computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.commands.derived import derived
from harness.commands.progress import Progress
from harness.planning.demand import Demand
from harness.planning.service_times import Floats, Look
from harness.planning.trust import Measurement
from harness.schema.errors import InputError
from harness.schema.percentiles import PERCENTILES, share
from harness.schema.point import Point, PointClass, Setting
from harness.schema.result import Environment, PointResult, ServerFigures
from harness.schema.samples import Status
from harness.simulation.batcher import Batcher, Kinds
from harness.store import samples_file, tune_file
from harness.store.run_folder import RunFolder, open_run
from harness.store.scenario_file import LoadedScenario
from harness.store.whole import NotWhole

OF_BATCHER = ("server.max_batch", "server.queue_delay_us", "server.preferred_batch", "server.instances")
"""Settings that a simulation can change: how long a batch takes doesn't depend on them but by the instances
that compute at once, which is learned."""

Configuration = Mapping[str, Setting | None]
Frozen = frozenset[tuple[str, Setting | None]]


@dataclass
class Evidence:
    """Of one kind of hardware, and one way to compute on it."""

    environment: Environment | None
    demand: Demand
    looks: list[Look] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    batchers: dict[Frozen, Batcher] = field(default_factory=dict)
    """Those that were measured, by their whole configuration."""
    points: list[PointResult] = field(default_factory=list)
    sources: dict[str, None] = field(default_factory=dict)

    def has_any_of(self, configurations: Iterable[Frozen]) -> bool:
        return any(each in self.batchers for each in configurations)

    @property
    def hardware_name(self) -> str:
        """What results call it."""
        where = self.environment
        if where is None:
            return "unknown hardware"
        names = [gpu.name for gpu in where.gpus]
        if not names:
            return f"{where.cpu}, {where.cores} cores"
        return names[0] if len(names) == 1 else f"{len(names)} × {names[0]}"


@dataclass
class Gathered:
    """All that was found."""

    evidence: list[Evidence]
    recommended: list[Frozen]
    """Configurations that searches recommend."""
    left_out: Counter[str]
    """Why points were left out."""

    @property
    def by_hardware(self) -> list[list[Evidence]]:
        """The ways to compute that were measured on each kind of hardware."""
        found: dict[tuple[object, ...], list[Evidence]] = {}
        for each in self.evidence:
            found.setdefault(hardware_key(each.environment), []).append(each)
        return list(found.values())


def gather(
    loaded: LoadedScenario, folders: Sequence[RunFolder], demand: Demand, progress: Progress
) -> Gathered:
    """Read the points of `folders` that are of the scenario's requests.

    Raises InputError for results of another model, and of the same one exported otherwise.
    """
    _check_models(loaded, folders)
    found: dict[tuple[object, ...], Evidence] = {}
    recommended: list[Frozen] = []
    left_out: Counter[str] = Counter()
    for folder in folders:
        begun = folder.points().begun
        environment = folder.about(len({point.dtype for point in begun})).environment
        best = _recommended(folder)
        for point, result in _points(folder, begun, left_out):
            configuration = frozenset(result.configuration.items())
            way = frozenset((path, v) for path, v in configuration if path not in OF_BATCHER)
            key = (hardware_key(environment), way)
            evidence = found.setdefault(key, Evidence(environment, demand))
            if result.verdict == "invalid":
                left_out[f"invalid: {result.reasons[0]}"] += 1
                continue
            kinds = kinds_of(loaded.points[0].requests, point)
            if kinds is None:
                left_out["of other requests than the scenario's"] += 1
                continue
            if best is not None and best.items() <= result.configuration.items():
                recommended.append(configuration)
            add_point(evidence, folder, result, kinds)
    progress.say(f"read {sum(len(each.points) for each in found.values())} points")
    return Gathered(list(found.values()), list(dict.fromkeys(recommended)), left_out)


def latest(results: Path, loaded: LoadedScenario, progress: Progress) -> RunFolder:
    """The newest run or search of the scenario under `results` that came to its end. Raises InputError where
    there is none."""
    for path in sorted(results.glob("*/"), reverse=True):
        try:
            folder = open_run(path)
            begun = folder.read_scenario()
            if (begun.name, begun.folder) != (loaded.name, loaded.folder):
                continue
            planned, points, _ = folder.points()
        except InputError as error:
            progress.say(f"passed over: {error}")
            continue
        if planned and points and {point.id for point in points} >= set(planned):
            return folder
    raise InputError(
        f"{results} has no finished run or search of {loaded.name}: measure it with `harness tune` or "
        "`harness run`, or name results with --from"
    )


def _check_models(loaded: LoadedScenario, folders: Sequence[RunFolder]) -> None:
    seen: dict[tuple[str | None, str], str] = {}
    for folder in folders:
        begun = folder.points().begun
        for other in {point.model for point in begun} - {loaded.scenario.model}:
            raise InputError(
                f"{folder.path} is of the model {other}, and {loaded.name} of {loaded.scenario.model}: "
                "name results of this one with --from"
            )
        for model in folder.about(len({point.dtype for point in begun})).models:
            known = seen.setdefault((model.dtype, model.name), model.sha256)
            if known != model.sha256:
                raise InputError(
                    f"{folder.path} has another export of {model.name} than the results before it: name "
                    "results of one of them with --from"
                )


def _recommended(folder: RunFolder) -> Configuration | None:
    """What the search in a folder recommends; None of a run."""
    try:
        result = tune_file.read(folder)
    except (NotWhole, InputError):
        return None
    return None if result.recommended is None else result.candidates[result.recommended].settings


def _points(
    folder: RunFolder, begun: Sequence[Point], left_out: Counter[str]
) -> Iterator[tuple[Point, PointResult]]:
    for point in begun:
        try:
            observed = folder.observed(point.id)
            if observed is not None:
                yield point, derived(point, folder, observed).result
        except NotWhole as fault:
            left_out[str(fault)] += 1


def hardware_key(environment: Environment | None) -> tuple[object, ...]:
    """What is the same of two machines with the same kind of hardware: the GPUs, else the CPU."""
    if environment is None:
        return ()
    gpus = tuple(gpu.name for gpu in environment.gpus)
    return gpus or (environment.cpu, environment.cores)


def kinds_of(classes: Sequence[PointClass], point: Point) -> list[int] | None:
    """Which of the scenario's classes each of the point's is, whatever their weights, and whatever numbers
    they send; None where one is another."""
    others = {"name", "weight", "folder", "low", "high", "ranges"}

    def alike(one: PointClass, other: PointClass) -> bool:
        return one.model_dump(exclude=others) == other.model_dump(exclude=others)

    found = [[n for n, each in enumerate(classes) if alike(each, asked)] for asked in point.requests]
    return [kinds[0] for kinds in found] if all(found) else None


def add_point(evidence: Evidence, folder: RunFolder, result: PointResult, kinds: Sequence[int]) -> None:
    """`kinds`: which of the scenario's request classes each of the point's is."""
    point, configuration = result.point, frozenset(result.configuration.items())
    evidence.points.append(result)
    evidence.sources[str(folder.path)] = None
    batcher = evidence.batchers.setdefault(configuration, _batcher(result))
    rate, alone = point.load.shape.nominal_rate_per_s, point.load.shape.users == 1
    sent = sent_of(folder, point, kinds) if rate is not None or alone else None
    if len(kinds) == 1 and result.server is not None and result.duration_s:
        network_s = None if result.time_s is None else result.time_s.network_s
        alone_s = None if sent is None or not alone else sent.service_s
        by_batch = _by_batch(result.server)
        at_once = 1 if alone else batcher.instances
        evidence.looks.append(Look(kinds[0], by_batch, at_once, result.duration_s, alone_s, network_s))
    seen = _highest_supported(result)
    if rate is not None and sent is not None and seen is not None:
        weights = [0.0] * len(evidence.demand.sizes)
        for kind, asked in zip(kinds, point.requests, strict=True):
            weights[kind] += asked.weight
        demand = Demand(weights, evidence.demand.sizes)
        evidence.measurements.append(
            Measurement(point.id, batcher, demand, rate, sent.due_s, sent.kinds, *seen)
        )


class Sent(NamedTuple):
    """The requests of a measured phase."""

    due_s: Floats
    """When each was due, from the first."""
    kinds: Kinds
    service_s: Floats
    """Of those that were answered, seconds from when they were sent."""


def sent_of(folder: RunFolder, point: Point, kinds: Sequence[int] | None = None) -> Sent:
    """`kinds`: which kind each of its request classes is of; None: as they are numbered. Raises InputError
    where the samples are damaged."""
    stored = samples_file.read_samples(folder.point(point.id) / "requests.parquet").measured
    answered = stored.status == Status.OK
    return Sent(
        (stored.intended_ns - stored.intended_ns[:1]) / 1e9,
        np.array(kinds or range(len(point.requests)), np.int64)[stored.request_class % len(point.requests)],
        (stored.completed_ns - stored.sent_ns)[answered] / 1e9,
    )


def _highest_supported(result: PointResult) -> tuple[float, float] | None:
    """The highest percentile up to the p99 that the sample supports, and its value in seconds."""
    known = [
        (share(name), value)
        for name in PERCENTILES
        if share(name) <= 0.99 and (value := getattr(result.latency_s, name)) is not None
    ]
    return max(known, default=None)


def _batcher(result: PointResult) -> Batcher:
    """As the server had it: `loaded` on one that already ran."""
    settings = result.loaded or result.point.server
    gpus = len({gpu.device for gpu in result.gpu or ()}) if result.loaded is None else 0
    on_gpu = result.execution_provider not in (None, "CPUExecutionProvider")
    return Batcher(
        max_batch=max(1, settings.max_batch or 1),
        queue_delay_s=(settings.queue_delay_us or 0) / 1e6,
        instances=(settings.instances or 1) * (max(1, gpus) if on_gpu else 1),
        preferred=(settings.preferred_batch,) if settings.preferred_batch else (),
    )


def _by_batch(server: ServerFigures) -> tuple[tuple[int, int, float], ...]:
    """Of a run that doesn't have it by size, the mean of all batches stands for its mean size."""
    if server.by_batch:
        return tuple((each.batch, each.executions, each.mean_s) for each in server.by_batch)
    if not server.executions or server.mean_batch is None or server.compute_infer_s is None:
        return ()
    mean_s = server.compute_infer_s + (server.compute_input_s or 0) + (server.compute_output_s or 0)
    return ((max(1, round(server.mean_batch)), server.executions, mean_s),)
