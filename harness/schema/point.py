"""One fully specified measurement, and how a scenario becomes a list of them, or one at named settings."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from harness.schema.errors import InputError
from harness.schema.faults import explained, nearest, short
from harness.schema.frozen import Frozen
from harness.schema.load import PointLoad, load_places
from harness.schema.scenario import (
    DeviceKind,
    Dtype,
    Measure,
    Objective,
    PayloadSource,
    Protocol,
    Provider,
    Range,
    Scenario,
    SharedMemory,
    Validity,
)

Setting = str | int | float | bool


class ServerSettings(Frozen):
    """One configuration of the model in Triton. `harness.schema.scenario.Server` has a key for each field.

    A field that is added must default to None: another default would change the id of every point.
    """

    max_batch: int
    queue_delay_us: int
    instances: int
    threads: int
    kind: DeviceKind
    response_cache: bool
    gpus: tuple[int, ...] | None = None
    provider: Provider | None = None
    cuda_graph: bool | None = None


FIXED_SETTINGS = ("kind", "gpus", "response_cache")
VARIED_SETTINGS = tuple(key for key in ServerSettings.model_fields if key not in FIXED_SETTINGS)
"""What a scenario may give a list of, in the order in which it is varied: the first varies slowest."""


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
    ranges: dict[str, Range] | None = None
    """By input, where they aren't those of the class."""


class Point(Frozen):
    """A scenario with every list resolved to one value."""

    id: str
    """The same for the same specification in every run and on every machine."""
    params: dict[str, Setting]
    """What the scenario varies, and what a caller of `point_at` named, by its dotted path. Of a scenario's
    single point, empty."""
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
    choices = _choices(scenario)
    total = 1
    for values in choices.values():
        total *= len(values)
    if total > 1000:
        raise InputError(f"the lists make {total} points, and a run has at most 1000: shorten a list")
    varied = [path for path, values in choices.items() if len(values) > 1]
    points = []
    for combination in itertools.product(*choices.values()):
        chosen = dict(zip(choices, combination, strict=True))
        params = {path: chosen[path] for path in varied}
        points.append(_point(scenario, chosen, params, named=varied))
    ids = [p.id for p in points]
    for twice in {i for i in ids if ids.count(i) > 1}:
        raise InputError(f"a list in the scenario has the same value twice (point {twice}): keep one of them")
    return tuple(points)


def point_at(scenario: Scenario, settings: Mapping[str, Setting]) -> Point:
    """The point of `scenario` at `settings`, whether or not `expand` lists it.

    `settings` names values by dotted paths as in `Point.params`: "server.max_batch", "requests.short.tokens",
    "load.rate_per_s", "load.arrivals", … They need not be in the scenario's lists, and are checked as the
    scenario's own are. What isn't named has the scenario's only or first value; a load of another shape
    than the scenario's takes its place.

    Raises InputError for a path that the scenario hasn't, for a value that it couldn't have, and for a
    combination that cannot be served. The id is the one that `expand` gives to the same specification.
    """
    ours = _choices(scenario)
    asked = _with(scenario, settings)
    choices = _choices(asked)
    chosen = {path: values[0] for path, values in choices.items()}
    params = {p: v for p, v in chosen.items() if p in settings or len(ours.get(p, ())) > 1}
    # A value that is the scenario's only one is in no id that `expand` gives.
    return _point(asked, chosen, params, named=[p for p, v in params.items() if ours.get(p) != (v,)])


def _with(scenario: Scenario, settings: Mapping[str, Any]) -> Scenario:
    """The scenario with each of `settings` in place of its own."""
    places: dict[str, _Where] = {path: where for path, where, _ in _served(scenario)}
    places |= load_places()
    data = scenario.model_dump(mode="json", exclude_none=True)
    data["load"] = scenario.load.room_for(settings)
    for path, value in settings.items():
        if path not in places:
            near = nearest(path, places) or f": name one of {', '.join(places)}"
            raise InputError(f"the scenario has no setting {short(path)!r}{near}")
        if not isinstance(value, Setting):
            raise InputError(
                f"{path} is {short(repr(value))}, and a point has one value of it: give a plain value"
            )
        *way, last = places[path]
        here: Any = data
        for step in way:
            here = here.setdefault(step, {}) if isinstance(here, dict) else here[step]
        here[last] = value
    try:
        return Scenario.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise InputError(*(sentence for _, sentence in explained(Scenario, data, error))) from None


_AXES = ("tokens", "height", "width")

_Where = tuple[str | int, ...]


def _choices(scenario: Scenario) -> dict[str, tuple[Any, ...]]:
    """The values of everything in it that decides what is measured and that may be named, by dotted path."""
    return {path: values for path, _, values in _served(scenario)} | dict(scenario.load.choices())


def _served(scenario: Scenario) -> Iterator[tuple[str, _Where, tuple[Any, ...]]]:
    """(dotted path, where in the scenario's data, values) of each key outside `load` that may be a list."""

    def values(value: Any) -> tuple[Any, ...]:
        return value if isinstance(value, tuple) else (value,)

    yield "dtype", ("dtype",), values(scenario.dtype)
    for key in VARIED_SETTINGS:
        yield f"server.{key}", ("server", key), values(getattr(scenario.server, key))
    yield "protocol", ("protocol",), values(scenario.protocol)
    yield "shared_memory", ("shared_memory",), values(scenario.shared_memory)
    for index, request in enumerate(scenario.requests):
        name, where = f"requests.{request.name}", ("requests", index)
        yield f"{name}.batch", (*where, "batch"), values(request.batch)
        for axis in _AXES:
            size = getattr(request, axis)
            if size is not None:
                yield f"{name}.{axis}", (*where, axis), values(size)
        for axis, size in request.axes.items():
            yield f"{name}.axes.{axis}", (*where, "axes", axis), values(size)


def _point(
    scenario: Scenario, chosen: Mapping[str, Any], params: dict[str, Setting], named: Iterable[str]
) -> Point:
    """With the value of each path in `chosen`; its id names those of `named`."""
    fixed = {key: getattr(scenario.server, key) for key in FIXED_SETTINGS}
    server = ServerSettings(**fixed, **{key: chosen[f"server.{key}"] for key in VARIED_SETTINGS})
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
                ranges=request.ranges,
            )
        )
    load = scenario.load.at(chosen)
    if scenario.measure.precision is not None and not load.steady_by_design:
        raise InputError(
            f"measure.precision asks for more of the same, and the load ({load.label}) changes "
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
        load=load,
        measure=scenario.measure,
        objective=scenario.objective,
        validity=scenario.validity,
        seed=scenario.seed,
    )
    return point.model_copy(update={"id": _identity(point, {path: params[path] for path in named})})


def _check_server(server: ServerSettings, shared_memory: SharedMemory) -> None:
    """Raise InputError for settings that can't be had together."""
    if server.gpus is not None and len(set(server.gpus)) < len(server.gpus):
        raise InputError("server.gpus names a GPU twice: name each once, and raise server.instances")
    check_provider(server)
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


def check_provider(server: ServerSettings) -> None:
    """Raise InputError for CUDA graphs with TensorRT. The server's backend refuses them by itself, too."""
    if server.provider == "tensorrt" and server.cuda_graph:
        raise InputError(
            "server.cuda_graph can't be had with provider tensorrt, which in ONNX Runtime replays one graph "
            "for every shape of input: choose one of the two"
        )


def _identity(point: Point, named: Mapping[str, Setting]) -> str:
    """The values of `named`, readable, then a hash of everything that decides what is measured.

    `params` says only what else was in the scenario, objective and validity only judge, and how many
    processes share the load isn't the load, so none of them counts. Nor does what isn't given, so that a key
    that a later version adds leaves the ids of today's scenarios as they are.
    """
    by_anybody = point.load.model_copy(update={"workers": None})
    measured = point.model_copy(update={"load": by_anybody})
    spec = measured.model_dump_json(exclude={"id", "params", "objective", "validity"}, exclude_none=True)
    digest = hashlib.sha256(spec.encode()).hexdigest()[:8]
    words = [f"{path.split('.')[-1]}-{value}" for path, value in named.items()]
    slug = re.sub(r"[^a-z0-9.]+", "-", "-".join(words).lower()).strip("-")[:80]
    return f"{slug}-{digest}" if slug else digest
