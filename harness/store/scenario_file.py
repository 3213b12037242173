"""A scenario file becomes a Scenario, or a sentence with the wrong line and what was likely meant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from harness import yaml_file
from harness.confined import confined
from harness.schema.errors import InputError
from harness.schema.expansion import expand
from harness.schema.faults import Where, explained, nearest, short
from harness.schema.point import Point
from harness.schema.scenario import Scenario
from harness.store.scenario_keys import accepted
from harness.yaml_file import MAX_DEPTH, Document

MAX_ERRORS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A scenario with the place it came from, since it names files relative to its folder."""

    name: str
    """The file's name without its ending."""
    folder: Path
    text: str
    """The file as it was, overrides not applied."""
    scenario: Scenario
    points: tuple[Point, ...]


def load_scenario(path: Path, overrides: Sequence[str] = (), *, as_loaded: bool = False) -> LoadedScenario:
    """Read, override, check and expand one scenario.

    `overrides` are `path=value` as in `--set server.max_batch=[1,8]`; a list of classes is addressed by
    position or class name (`requests.short.tokens=32`). `as_loaded` is as in `expand`.
    Raises InputError with file and line.
    """
    return _loaded(yaml_file.read(path), path.stem, path.resolve().parent, overrides, as_loaded=as_loaded)


def scenario_of_text(
    text: str, name: str, folder: Path, overrides: Sequence[str] = (), *, as_loaded: bool = False
) -> LoadedScenario:
    """The same of a text that is no file, as if it were `name`.yaml in the folder."""
    return _loaded(yaml_file.parse(text, name), name, folder.resolve(), overrides, as_loaded=as_loaded)


def _loaded(
    document: Document, name: str, folder: Path, overrides: Sequence[str], *, as_loaded: bool
) -> LoadedScenario:
    for override in overrides:
        _override(document, override)
    scenario = _validated(document)
    _confine(document, scenario, folder)
    try:
        points = expand(scenario, as_loaded=as_loaded)
    except InputError as error:
        raise InputError(f"{document.name}:{_blamed(document, str(error))}: {error}") from error
    return LoadedScenario(name, folder, document.text, scenario, points)


def json_schema() -> str:
    """JSON schema of a scenario file, for editors."""
    schema = TypeAdapter(accepted()).json_schema()
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "harness scenario"} | schema
    return json.dumps(schema, indent=2) + "\n"


def _validated(document: Document) -> Scenario:
    if not isinstance(document.data, dict):
        raise InputError(f"{document.name}:1: a scenario is a mapping that begins with `model:`")
    text = json.dumps(document.data)
    try:
        accepted().model_validate_json(text)
        return Scenario.model_validate_json(text)
    except ValidationError as error:
        raise InputError(*_explained(document, error)) from None


def _explained(document: Document, error: ValidationError) -> list[str]:
    """A line for each fault, in the order of the file."""
    found = sorted(explained(accepted(), document.data, error), key=lambda one: document.line(one[0]) or 0)
    lines = []
    for where, sentence in found:
        line = document.line(where)
        lines.append(f"{document.name}:{line}: {sentence}" if line else f"{document.name}: {sentence}")
    more = len(lines) - MAX_ERRORS_SHOWN
    shown = lines[:MAX_ERRORS_SHOWN]
    return shown + ([f"and {more} more"] if more > 0 else [])


def _override(document: Document, override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise InputError(
            f"--set {short(override)!r} is not path=value: write e.g. --set server.max_batch=[1,8]"
        )
    name = f"--set {short(dotted)}"
    if dotted.count(".") >= MAX_DEPTH:
        raise InputError(f"{name}: deeper than {MAX_DEPTH} levels: see docs/scenarios.md for the paths")
    value = yaml_file.parse(text, name).data if text.strip() else None
    here: Any = document.data
    *steps, last = dotted.split(".")
    for step in steps:
        here = _step_into(here, step, name)
    if isinstance(here, list):
        here[_position(here, last, name)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise InputError(f"{name}: nothing can be set there: see `harness run --help` for the paths")


def _step_into(here: Any, step: str, name: str) -> Any:
    if isinstance(here, list):
        return here[_position(here, step, name)]
    if isinstance(here, dict):
        return here.setdefault(step, {})
    raise InputError(f"{name}: {short(step)!r} is under a plain value: check the path")


def _position(items: list[Any], step: str, name: str) -> int:
    places = {str(place): place for place in range(len(items))}
    if step in places:
        return places[step]
    names = [str(item.get("name")) for item in items if isinstance(item, dict)]
    if step in names:
        return names.index(step)
    near = nearest(step, names) or f": there are {short(', '.join(names))}"
    raise InputError(f"{name}: no item {short(step)!r}{near}")


def _confine(document: Document, scenario: Scenario, folder: Path) -> None:
    named: list[tuple[Where, str]] = [
        (("requests", index, key), given)
        for index, request in enumerate(scenario.requests)
        for key, given in (("folder", request.folder), ("data", request.data))
        if given is not None
    ]
    named += scenario.load.files.items()
    if scenario.regression.reference is not None:
        named.append((("regression", "reference"), scenario.regression.reference))
    for where, given in named:
        key, line = ".".join(map(str, where)), document.line(where)
        if not confined(folder, given, f"{document.name}:{line}: `{key}`").exists():
            raise InputError(
                f"{document.name}:{line}: `{key}` is {given!r}, which isn't in the scenario's folder"
            )


def _blamed(document: Document, message: str) -> int:
    """The line an impossible combination is best mended at: the one of the key its message names, of several
    the one it begins with."""
    named = {".".join(str(step) for step in where): line for where, line in document.lines.items()}
    for key, line in named.items():
        if message.startswith(f"{key} "):
            return line
    for key, line in named.items():
        if "." in key and f"{key} " in message:
            return line
    return document.line(("requests",)) or 1


def written(scenario: Scenario) -> str:
    """A scenario as YAML; what is at its default is left out."""
    data = scenario.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    data["load"] = scenario.load.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
