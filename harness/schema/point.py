"""One fully specified measurement, and how a scenario becomes a list of them."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from typing import Any

from harness.schema.errors import InputError
from harness.schema.frozen import Frozen
from harness.schema.scenario import (
    Arrivals,
    Dtype,
    Kind,
    Measure,
    Objective,
    PayloadSource,
    Protocol,
    Provider,
    Ramp,
    Replay,
    Scenario,
    SharedMemory,
    Spike,
    Validity,
)


class ServerSettings(Frozen):
    """One configuration of the model in Triton. See `harness.schema.scenario.Server` for the meanings."""

    max_batch: int
    queue_delay_us: int
    instances: int
    threads: int
    kind: Kind
    response_cache: bool
    gpus: tuple[int, ...] | None = None
    provider: Provider | None = None
    cuda_graph: bool | None = None


class PointClass(Frozen):
    """One request class with every size fixed."""

    name: str
    weight: float
    batch: int
    axes: dict[str, int]
    """Sizes of the model's dynamic axes, by name (`tokens`, `height`, …), batch not among them."""
    payload: PayloadSource | None
    folder: str | None
    low: float | None
    high: float | None


class PointLoad(Frozen):
    """Exactly one of the five shapes is given; `arrivals` is None for a closed loop and a replay."""

    concurrency: int | None = None
    rate_per_s: float | None = None
    ramp: Ramp | None = None
    spike: Spike | None = None
    replay: Replay | None = None
    arrivals: Arrivals | None = None
    cv: float | None = None
    workers: int = 1

    @property
    def open_loop(self) -> bool:
        return self.concurrency is None

    @property
    def steady_by_design(self) -> bool:
        """Whether the load asks for the same at any time, so that it can be looked at for longer."""
        return self.concurrency is not None or self.rate_per_s is not None

    @property
    def label(self) -> str:
        """In a reader's words: "concurrency 8", "50/s poisson", …"""
        if self.concurrency is not None:
            return f"concurrency {self.concurrency}"
        if self.replay is not None:
            return f"replay {self.replay.file}"
        if self.rate_per_s is not None:
            shape = f"{self.rate_per_s:g}/s"
        elif self.ramp is not None:
            shape = f"ramp {self.ramp.from_per_s:g} to {self.ramp.to_per_s:g}/s"
        elif self.spike is not None:
            shape = f"spike {self.spike.base_per_s:g} to {self.spike.peak_per_s:g}/s"
        else:
            raise AssertionError("a load has a shape")
        bursts = "" if self.cv is None else f" (cv {self.cv:g})"
        return f"{shape} {self.arrivals}{bursts}"


class Point(Frozen):
    """A scenario with every list resolved to one value."""

    id: str
    """The same for the same specification in every run and on every machine."""
    params: dict[str, str | int | float | bool]
    """What the scenario varies, by its dotted path; with a single point, empty."""
    model: str
    dtype: Dtype | None = None
    """None: as the model is."""
    protocol: Protocol
    shared_memory: SharedMemory = "none"
    server: ServerSettings
    requests: tuple[PointClass, ...]
    load: PointLoad
    measure: Measure
    objective: Objective
    validity: Validity = Validity()
    seed: int

    @property
    def label(self) -> str:
        """What tells this point from its neighbours, for a table row."""
        return ", ".join(f"{k.split('.')[-1]} {v}" for k, v in self.params.items()) or self.load.label


def expand(scenario: Scenario) -> tuple[Point, ...]:
    """Every combination of the lists in `scenario`; server settings vary slowest, to reload least.

    Raises InputError for a combination that cannot be served, and for more than 1,000 points.
    """
    choices = [(path, values) for path, values in _varied(scenario)]
    total = 1
    for _, values in choices:
        total *= len(values)
    if total > 1000:
        raise InputError(f"the lists make {total} points, and a run has at most 1000: shorten a list")
    varied = [path for path, values in choices if len(values) > 1]
    points = []
    for combination in itertools.product(*(values for _, values in choices)):
        chosen = dict(zip((path for path, _ in choices), combination, strict=True))
        points.append(_point(scenario, chosen, {path: chosen[path] for path in varied}))
    ids = [p.id for p in points]
    for twice in {i for i in ids if ids.count(i) > 1}:
        raise InputError(f"a list in the scenario has the same value twice (point {twice}): keep one of them")
    return tuple(points)


_AXES = ("tokens", "height", "width")


def _varied(scenario: Scenario) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(dotted path, values) of each key that may be a list."""

    def values(value: Any) -> tuple[Any, ...]:
        return value if isinstance(value, tuple) else (value,)

    yield "dtype", values(scenario.dtype)
    for key in ("max_batch", "queue_delay_us", "instances", "threads", "provider", "cuda_graph"):
        yield f"server.{key}", values(getattr(scenario.server, key))
    yield "protocol", values(scenario.protocol)
    yield "shared_memory", values(scenario.shared_memory)
    for request in scenario.requests:
        yield f"requests.{request.name}.batch", values(request.batch)
        for axis in _AXES:
            size = getattr(request, axis)
            if size is not None:
                yield f"requests.{request.name}.{axis}", values(size)
        for axis, size in request.axes.items():
            yield f"requests.{request.name}.axes.{axis}", values(size)
    for key in ("concurrency", "rate_per_s"):
        if getattr(scenario.load, key) is not None:
            yield f"load.{key}", values(getattr(scenario.load, key))


def _point(scenario: Scenario, chosen: dict[str, Any], params: dict[str, Any]) -> Point:
    server = ServerSettings(
        max_batch=chosen["server.max_batch"],
        queue_delay_us=chosen["server.queue_delay_us"],
        instances=chosen["server.instances"],
        threads=chosen["server.threads"],
        kind=scenario.server.kind,
        response_cache=scenario.server.response_cache,
        gpus=scenario.server.gpus,
        provider=chosen["server.provider"],
        cuda_graph=chosen["server.cuda_graph"],
    )
    _check_server(server, chosen["shared_memory"])
    classes = []
    for request in scenario.requests:
        prefix = f"requests.{request.name}."
        batch = chosen[prefix + "batch"]
        if batch > server.max_batch:
            raise InputError(
                f"request class {request.name!r} has batch {batch}, "
                f"but server.max_batch is {server.max_batch}, "
                "and Triton refuses a request that is larger: raise max_batch or lower the batch"
            )
        sizes = {axis: chosen[prefix + axis] for axis in _AXES if prefix + axis in chosen}
        sizes |= {axis: chosen[f"{prefix}axes.{axis}"] for axis in request.axes}
        classes.append(
            PointClass(
                name=request.name,
                weight=request.weight,
                batch=batch,
                axes=sizes,
                payload=request.payload,
                folder=request.folder,
                low=request.low,
                high=request.high,
            )
        )
    load = scenario.load
    arrivals: Arrivals | None = None
    if load.concurrency is None and load.replay is None:
        arrivals = load.arrivals or "constant"
    point_load = PointLoad(
        concurrency=chosen.get("load.concurrency"),
        rate_per_s=chosen.get("load.rate_per_s"),
        ramp=load.ramp,
        spike=load.spike,
        replay=load.replay,
        arrivals=arrivals,
        cv=load.cv,
        workers=load.workers,
    )
    if scenario.measure.precision is not None and not point_load.steady_by_design:
        raise InputError(
            f"measure.precision asks for more of the same, and the load ({point_load.label}) changes "
            "by design: leave out measure.precision, or give load.rate_per_s or load.concurrency"
        )
    point = Point(
        id="",
        params=params,
        model=scenario.model,
        dtype=chosen["dtype"],
        protocol=chosen["protocol"],
        shared_memory=chosen["shared_memory"],
        server=server,
        requests=tuple(classes),
        load=point_load,
        measure=scenario.measure,
        objective=scenario.objective,
        validity=scenario.validity,
        seed=scenario.seed,
    )
    return point.model_copy(update={"id": _identity(point)})


def _check_server(server: ServerSettings, shared_memory: SharedMemory) -> None:
    """Raise InputError for settings that can't be had together."""
    if server.gpus is not None and len(set(server.gpus)) < len(server.gpus):
        raise InputError("server.gpus names a GPU twice: name each once, and raise server.instances")
    if server.provider == "tensorrt" and server.cuda_graph:
        raise InputError(
            "server.cuda_graph can't be had with provider tensorrt, which in ONNX Runtime replays one graph "
            "for every shape of input: choose one of the two"
        )
    asked = {
        "server.gpus": server.gpus is not None,
        "server.provider": server.provider is not None,
        "server.cuda_graph": server.cuda_graph is True,
        "shared_memory": shared_memory == "cuda",
    }
    for key, given in asked.items():
        if given and server.kind == "cpu":
            value = " cuda" if key == "shared_memory" else ""
            raise InputError(
                f"{key}{value} needs a GPU, and server.kind is cpu: leave out {key}, "
                "or set server.kind to gpu"
            )


def _identity(point: Point) -> str:
    """Readable varied values, then a hash of everything that decides what is measured.

    `params` says only what else was in the scenario, objective and validity only judge, and how many
    processes share the load isn't the load, so none of them counts. Nor does what isn't given, so that a key
    that a later version adds leaves the ids of today's scenarios as they are.
    """
    judged: Any = {"id": True, "params": True, "objective": True, "validity": True, "load": {"workers"}}
    spec = point.model_dump_json(exclude=judged, exclude_none=True)
    digest = hashlib.sha256(spec.encode()).hexdigest()[:8]
    words = [f"{path.split('.')[-1]}-{value}" for path, value in point.params.items()]
    slug = re.sub(r"[^a-z0-9.]+", "-", "-".join(words).lower()).strip("-")[:80]
    return f"{slug}-{digest}" if slug else digest
