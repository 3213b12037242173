"""What one drive is to send, and the files that hand it to the load processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.load import arrivals, sequence_flags
from harness.load.endpoint import Endpoint
from harness.load.load_plan import LoadPlan, PayloadFile, PlannedClass, PlannedSequence, write_plan
from harness.load.shared_memory import cuda_driver
from harness.load.shared_memory.cuda_memory import CudaMemory
from harness.load.shared_memory.region_control import RegionControl
from harness.load.shared_memory.regions import OPEN_LOOP_SLOTS, Make, SharedMemory, Target
from harness.load.shared_memory.system_memory import SystemMemory
from harness.schema.errors import InputError
from harness.schema.load import PointLoad
from harness.schema.point import Point, PointClass
from harness.schema.tensors import Tensors
from harness.schema.turns import Turns


@dataclass(frozen=True, slots=True)
class Job:
    """The load of one point on one server."""

    point: Point
    model: str
    """Its name in Triton."""
    payloads: Mapping[str, Sequence[Tensors]]
    """The variants of each of the point's classes, by name."""
    outputs: Sequence[str]
    """What to ask for; none means all."""
    endpoint: Endpoint
    """Where the load goes."""
    folder: Path
    """Gets the plan, the spools and Locust's output."""
    base_dir: Path
    """The scenario's folder, for a replay's file."""
    replicas: tuple[Endpoint, ...] = ()
    """Where it goes besides, as much to each. Those of arms have none."""
    http_port: int | None = None
    """Where shared memory is registered with the server; None: at the endpoint's port."""
    access: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers for interfaces of the server that are closed to others. They stay in this process."""
    listen: tuple[str, int] | None = None
    """Where load processes of other machines are awaited; None: all of them are started here."""
    beside: tuple[Job, ...] = ()
    """The other arms, which get the same load in turns with this one. Their folders aren't used."""
    version: str = ""
    """The model's; "" for the server's choice."""
    streams: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    """Of classes whose sequences send streams of data: the first variant of each, and its steps."""
    validated: bool = False
    """Whether it is known what must be answered to some payloads."""
    others: Mapping[str, tuple[str, str, Sequence[str]]] = field(default_factory=dict)
    """Model, version and outputs of classes that ask another one, or for some outputs only."""
    turns: Turns | None = None
    """How they follow each other; None where there are no others."""

    @property
    def arms(self) -> tuple[Job, ...]:
        """This one first."""
        return (self, *self.beside)

    @property
    def destinations(self) -> tuple[tuple[Job, Endpoint], ...]:
        """Each arm, or each replica; the load process numbers them so."""
        return tuple((arm, to) for arm in self.arms for to in (arm.endpoint, *arm.replicas))

    def prepared(self, request_class: str, tensors: Tensors, to: Endpoint | None = None) -> bytes:
        """A request of the class with these tensors, ready to be sent any number of times `to` a replica."""
        model, version, outputs = self.others.get(request_class, (self.model, self.version, self.outputs))
        kind = next(each for each in self.point.requests if each.name == request_class)
        parameters = dict(kind.parameters or {})
        if kind.sequence is not None:
            parameters |= sequence_flags.parameters()
        return (to or self.endpoint).prepare(model, tensors, outputs, version=version, parameters=parameters)

    @property
    def load(self) -> PointLoad:
        return self.point.load

    @property
    def alone(self) -> bool:
        """Whether one load process on this machine does it."""
        return self.load.workers == 1 and self.listen is None

    @property
    def users(self) -> int:
        """Locust users of all load processes together: an open loop needs one in each."""
        return self.load.shape.users or self.load.workers


def check_memory(points: Iterable[Point]) -> None:
    """Raises InputError where a point's tensors are to be in memory that isn't here."""
    for gpu in {_gpu(point) for point in points if point.shared_memory == "cuda"}:
        cuda_driver.check(gpu)


def _gpu(point: Point) -> int:
    """Where CUDA shared memory is: the first GPU that gets instances of the model."""
    return (point.server.gpus or (0,))[0]


def _memory(point: Point, target: Target) -> Make:
    if point.shared_memory == "system":
        return SystemMemory
    regions = RegionControl(target.endpoint.host, target.http_port, headers=target.access)
    return lambda size: CudaMemory(size, _gpu(point), regions.gpu_of(target.model))


@contextmanager
def prepared(job: Job) -> Iterator[tuple[int, Iterable[Sequence[bytes]]]]:
    """How many slots there are, and the requests of each class: each variant, one slot after the other.

    Raises what SharedMemory does, where the point asks for it.
    """
    point, endpoint = job.point, job.endpoint
    if point.shared_memory == "none":
        yield (
            1,
            (_prepared(arm, each.name, to) for arm, to in job.destinations for each in arm.point.requests),
        )
        return
    if len(job.destinations) > 1:
        raise InputError("memory can be shared with a single server only: set shared_memory to none")
    classes = [job.payloads[each.name] for each in point.requests]
    http_port = endpoint.port if job.http_port is None else job.http_port
    target = Target(endpoint, job.model, http_port, job.access, job.version)
    slots = job.load.shape.users or OPEN_LOOP_SLOTS
    with SharedMemory(target, classes, job.outputs, slots, _memory(point, target)) as memory:
        yield (
            slots,
            ([bytes_ for slot in memory.prepared for bytes_ in slot[kind]] for kind in range(len(classes))),
        )


def _sequence(job: Job, kind: PointClass) -> PlannedSequence | None:
    if kind.sequence is None:
        return None
    streams = tuple(job.streams.get(kind.name, ()))
    said = kind.sequence.length is not None or not streams
    return PlannedSequence(between=kind.sequence.between() if said else None, streams=streams)


def _own_s(job: Job, seconds: float) -> float:
    """How much of a phase an arm has for itself."""
    return seconds if job.turns is None else job.turns.within(seconds).on_s(seconds)


def _prepared(job: Job, name: str, to: Endpoint) -> Sequence[bytes]:
    """Each variant of one class."""
    return [job.prepared(name, tensors, to) for tensors in job.payloads[name]]


def write_job(
    job: Job, slots: int, requests: Iterable[Sequence[bytes]], *, extensible: bool
) -> tuple[LoadPlan, Path]:
    """Write plan, payloads and an open loop's times into the job's folder; the plan and its path.

    `slots` and `requests` are what `prepared` gives.

    `extensible`: whether the measured phase may go on past `duration_s`, up to `at_most_s`. An open loop's
    times reach that far then, and begin with those that a shorter one has.

    Raises InputError for a schedule that can't be made.
    """
    point, measure = job.point, job.point.measure
    limit_s = measure.duration_s
    if extensible and job.load.steady_by_design:
        limit_s = measure.at_most_s or limit_s
    warmup_s = measure.warmup_s
    times: dict[str, arrivals.Times] = {}
    if job.load.open_loop:
        own_s = _own_s(job, limit_s)
        times["measure"] = arrivals.schedule(job.load, own_s, point.seed, job.base_dir)
        if warmup_s > 0:
            load = arrivals.warmup_load(job.load, times["measure"], own_s)
            times["warmup"] = arrivals.warmup(load, _own_s(job, warmup_s), point.seed + 1)
    for old in (
        *job.folder.glob("load-times-*"),
        *job.folder.glob("requests-*"),
        *job.folder.glob("answers-*"),
        *job.folder.glob("sequences-*"),
    ):
        old.unlink()
    places = PayloadFile.write(requests, job.folder)
    plan = LoadPlan(
        endpoint=job.endpoint,
        others=tuple(to for _, to in job.destinations[1:]),
        turns=job.turns,
        classes=tuple(
            PlannedClass(
                name=each.name,
                weight=each.weight,
                destination=number,
                requests=place,
                sequence=_sequence(arm, each),
            )
            for (number, arm, each), place in zip(
                (
                    (number, arm, each)
                    for number, (arm, _) in enumerate(job.destinations)
                    for each in arm.point.requests
                ),
                places,
                strict=True,
            )
        ),
        seed=point.seed,
        slots=slots,
        concurrency=job.load.shape.users,
        warmup_s=warmup_s,
        limit_s=limit_s,
        # What a step answers depends on those before it: only what a file says of it can be compared.
        keep_answers=point.shared_memory == "none" and (job.validated or point.requests[0].sequence is None),
    )
    return plan, write_plan(plan, times, job.folder)
