"""How a scenario becomes a list of points, or one at named settings."""

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
from harness.schema.load import load_places
from harness.schema.point import (
    AXES,
    FIXED_SETTINGS,
    VARIED_SETTINGS,
    Point,
    PointClass,
    ServerSettings,
    Setting,
    check_provider,
)
from harness.schema.roles import Role, role_of
from harness.schema.scenario import Scenario, SharedMemory


def expand(scenario: Scenario, *, as_loaded: bool = False) -> tuple[Point, ...]:
    """Every combination of the lists in `scenario`; server settings vary slowest, to reload least.

    `as_loaded`: for a server that already runs, which keeps what the scenario doesn't say; else that has its
    default.

    Raises InputError for a combination that cannot be served, and for more than 1,000 points.
    """
    scenario = scenario if as_loaded else scenario.with_defaults()
    choices = _choices(scenario)
    _check_roles(scenario, choices)
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


def configurations(scenario: Scenario, *, as_loaded: bool = False) -> tuple[dict[str, Setting], ...]:
    """Every combination of what the scenario varies of how the model is served, by dotted path. Of a scenario
    that varies nothing of it, one that is empty. `as_loaded` is as in `expand`."""
    varied = _varied(scenario, as_loaded, "configuration")
    return tuple(dict(zip(varied, each, strict=True)) for each in itertools.product(*varied.values()))


def varied_workload(scenario: Scenario) -> tuple[str, ...]:
    """The paths of what is given, of which the scenario has several values."""
    return tuple(_varied(scenario, True, "workload"))


def _varied(scenario: Scenario, as_loaded: bool, role: Role) -> dict[str, tuple[Any, ...]]:
    choices = _choices(scenario if as_loaded else scenario.with_defaults())
    return {
        path: values
        for path, values in choices.items()
        if len(values) > 1 and role_of(path, scenario.given, scenario.chosen) == role
    }


def point_at(scenario: Scenario, settings: Mapping[str, Setting], *, as_loaded: bool = False) -> Point:
    """The point of `scenario` at `settings`, whether or not `expand` lists it.

    `settings` names values by dotted paths as in `Point.params`: "server.max_batch", "requests.short.tokens",
    "load.rate_per_s", "load.arrivals", … They need not be in the scenario's lists, and are checked as the
    scenario's own are. What isn't named has the scenario's only or first value; a load of another shape
    than the scenario's takes its place. `as_loaded` is as in `expand`.

    Raises InputError for a path that the scenario hasn't, for a value that it couldn't have, and for a
    combination that cannot be served. The id is the one that `expand` gives to the same specification.
    """
    ours = _choices(scenario if as_loaded else scenario.with_defaults())
    asked = with_settings(scenario, settings)
    asked = asked if as_loaded else asked.with_defaults()
    choices = _choices(asked)
    chosen = {path: values[0] for path, values in choices.items()}
    params = {p: v for p, v in chosen.items() if p in settings or len(ours.get(p, ())) > 1}
    # A value that is the scenario's only one is in no id that `expand` gives.
    return _point(asked, chosen, params, named=[p for p, v in params.items() if ours.get(p) != (v,)])


def with_settings(scenario: Scenario, settings: Mapping[str, Any]) -> Scenario:
    """The scenario with each of `settings`, by dotted path, in place of its own. Raises InputError as
    `point_at` does."""
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
        for axis in AXES:
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
        if server.max_batch is not None and batch > server.max_batch:
            raise InputError(
                f"request class {request.name!r} has batch {batch}, "
                f"but server.max_batch is {server.max_batch}, "
                "and Triton refuses a request that is larger: raise max_batch or lower the batch"
            )
        sizes = {axis: chosen[prefix + axis] for axis in AXES if prefix + axis in chosen}
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
                model=request.model,
                sequence=request.sequence,
                parameters=request.parameters,
                outputs=request.outputs,
                data=request.data,
                shapes=request.shapes,
                string_length=request.string_length,
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
        compression=scenario.compression,
        shared_memory=chosen["shared_memory"],
        server=server,
        requests=tuple(classes),
        load=load,
        measure=scenario.measure,
        objective=scenario.objective,
        validity=scenario.validity,
        seed=scenario.seed,
        given=scenario.given,
        chosen=scenario.chosen,
    )
    return point.model_copy(update={"id": _identity(point, {path: params[path] for path in named})})


def _check_roles(scenario: Scenario, known: Iterable[str]) -> None:
    """Raise InputError where what is declared to be given or chosen is no setting, or can't be that."""
    for role, paths in (("given", scenario.given), ("chosen", scenario.chosen)):
        for path in paths:
            if path not in known:
                near = nearest(path, known) or f": name one of {', '.join(known)}"
                raise InputError(f"{role} names {short(path)!r}, which the scenario hasn't{near}")
    for path in scenario.chosen:
        if path in scenario.given:
            raise InputError(f"given and chosen both name {path}: leave it out of one of them")
        if path.startswith("load."):
            raise InputError(f"chosen names {path}, and a load is found or given: leave it out")


def _check_server(server: ServerSettings, shared_memory: SharedMemory) -> None:
    """Raise InputError for settings that can't be had together."""
    if server.gpus is not None and len(set(server.gpus)) < len(server.gpus):
        raise InputError("server.gpus names a GPU twice: name each once, and raise server.instances")
    check_provider(server)
    if server.max_batch is not None and (server.preferred_batch or 0) > server.max_batch:
        raise InputError(
            f"server.preferred_batch is {server.preferred_batch}, and no batch is larger than "
            f"server.max_batch, {server.max_batch}: lower it, or raise max_batch"
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


def _identity(point: Point, named: Mapping[str, Setting]) -> str:
    """The values of `named`, readable, then a hash of everything that decides what is measured.

    `params` says only what else was in the scenario, objective and validity only judge, `given` and `chosen`
    only say what the answers are of, and how many processes share the load isn't the load, so none of them
    counts. Nor does what isn't given, so that a key that a later version adds leaves the ids of today's
    scenarios as they are.
    """
    by_anybody = point.load.model_copy(update={"workers": None})
    measured = point.model_copy(update={"load": by_anybody})
    judging = {"id", "params", "objective", "validity", "given", "chosen"}
    spec = measured.model_dump_json(exclude=judging, exclude_none=True)
    digest = hashlib.sha256(spec.encode()).hexdigest()[:8]
    words = [f"{path.split('.')[-1]}-{value}" for path, value in named.items()]
    slug = re.sub(r"[^a-z0-9.]+", "-", "-".join(words).lower()).strip("-")[:80]
    return f"{slug}-{digest}" if slug else digest
