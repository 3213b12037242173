"""A scenario file becomes a Scenario, or a sentence with the wrong line and what was likely meant."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from harness.confined import confined
from harness.schema.errors import InputError
from harness.schema.point import Point, expand
from harness.schema.scenario import Scenario
from harness.store import yaml_file
from harness.store.yaml_file import MAX_DEPTH, Document, Where, short

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


def load_scenario(path: Path, overrides: Sequence[str] = ()) -> LoadedScenario:
    """Read, override, check and expand one scenario.

    `overrides` are `path=value` as in `--set server.max_batch=[1,8]`; a list of classes is addressed by
    position or class name (`requests.short.tokens=32`). Raises InputError with file and line.
    """
    document = yaml_file.read(path)
    for override in overrides:
        _override(document, override)
    scenario = _validated(document)
    _confine(document, scenario, path.resolve().parent)
    try:
        points = expand(scenario)
    except InputError as error:
        raise InputError(f"{path}:{_blamed(document, str(error))}: {error}") from error
    return LoadedScenario(path.stem, path.resolve().parent, document.text, scenario, points)


def json_schema() -> str:
    """JSON schema of a scenario file, for editors."""
    schema = TypeAdapter(Scenario).json_schema()
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "harness scenario"} | schema
    return json.dumps(schema, indent=2) + "\n"


def _validated(document: Document) -> Scenario:
    if not isinstance(document.data, dict):
        raise InputError(f"{document.name}:1: a scenario is a mapping that begins with `model:`")
    try:
        return Scenario.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        raise InputError(*_explained(document, error)) from None


def _explained(document: Document, error: ValidationError) -> list[str]:
    """A sentence for each fault, in the order of the file."""
    told: dict[Where, str] = {}
    found = [(_where(d, document.data), d) for d in error.errors(include_url=False)]
    # Complaints about a member of a union that the user didn't mean, last: they count only where alone.
    found.sort(key=lambda one: _beside_the_point(one[1], one[0], document.data))
    for where, detail in found:
        if _beside_the_point(detail, where, document.data) and any(w[: len(where)] == where for w in told):
            continue
        told.setdefault(where, _sentence(detail, where, document.data))
    lines = []
    for where, sentence in sorted(told.items(), key=lambda item: document.line(item[0]) or 0):
        line = document.line(where)
        lines.append(f"{document.name}:{line}: {sentence}" if line else f"{document.name}: {sentence}")
    more = len(lines) - MAX_ERRORS_SHOWN
    shown = lines[:MAX_ERRORS_SHOWN]
    return shown + ([f"and {more} more"] if more > 0 else [])


def _where(detail: ErrorDetails, data: Any) -> Where:
    """The part of pydantic's `loc` that walks the data; it also names the union's members it tried.

    A key that is missing from the data keeps its name at the end.
    """
    loc = detail["loc"]
    where: list[str | int] = []
    here = data
    for position, step in enumerate(loc):
        in_mapping = isinstance(here, dict) and step in here
        if in_mapping or (isinstance(here, list) and isinstance(step, int) and step < len(here)):
            here = here[step]
        elif detail["type"] != "missing" or position < len(loc) - 1:
            continue
        where.append(step)
    return tuple(where)


def _at(data: Any, where: Where) -> Any:
    for step in where:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _beside_the_point(detail: ErrorDetails, where: Where, data: Any) -> bool:
    """Where a value or a list of values is allowed, only complaints about the one that was given help."""
    given = _at(data, where)
    if detail["type"] == "tuple_type":
        return not isinstance(given, list)
    if detail["type"] == "too_short":
        return bool(given)  # pydantic counts only the good items
    of_a_value = detail["type"].endswith("_type") or detail["type"] == "literal_error"
    return isinstance(given, list) and of_a_value


def _sentence(detail: ErrorDetails, where: Where, data: Any) -> str:
    key = short(".".join(str(step) for step in where)) or "the scenario"
    kind, context = detail["type"], detail.get("ctx", {})
    given = _shown(_at(data, where))
    if kind == "extra_forbidden":
        return _unknown(where, key)
    if kind == "missing":
        return f"`{key}` is missing: add it"
    if kind == "value_error":
        return f"{key}: {context['error']}"
    expected = {
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_type": "a number",
        "string_type": "a word",
        "bool_type": "true or false",
        "tuple_type": "a list",
        "model_type": "a mapping of keys",
        "model_attributes_type": "a mapping of keys",
        "dict_type": "a mapping of keys",
        "too_short": "at least one item",
        "string_too_short": "a word",
        "finite_number": "a finite number",
    }.get(kind)
    if kind == "literal_error":
        options = [o.strip("'") for o in context["expected"].replace(" or ", ", ").split(", ")]
        near = _nearest(short(str(_at(data, where))), options)
        return f"`{key}` is {given}, but must be one of {', '.join(options)}{near}"
    if kind == "string_pattern_mismatch":
        return (
            f"`{key}` is {given}: use letters, digits, '-', '_' and '.', beginning with a letter or digit, "
            "64 at most"
        )
    if expected:
        return f"`{key}` is {given}, but must be {expected}"
    message = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"`{key}` is {given}, but must be {message}"


def _shown(value: Any) -> str:
    return short(json.dumps(value, ensure_ascii=False))


def _unknown(where: Where, key: str) -> str:
    names = list(_fields(where[:-1]))
    near = _nearest(short(str(where[-1])), names)
    return f"unknown key `{key}`{near or ': the keys here are ' + ', '.join(names)}"


def _nearest(word: str, options: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(options), n=1, cutoff=0.5)
    return f": did you mean `{close[0]}`?" if close else ""


def _fields(where: Where) -> Iterable[str]:
    """Names of the keys that may stand in the mapping at `where`."""
    model: type[BaseModel] = Scenario
    for step in where:
        if isinstance(step, str) and step in model.model_fields:
            found = _model_in(model.model_fields[step].annotation)
            if found is None:
                return []
            model = found
    return model.model_fields


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


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
    near = _nearest(short(step), names) or f": there are {short(', '.join(names))}"
    raise InputError(f"{name}: no item {short(step)!r}{near}")


def _confine(document: Document, scenario: Scenario, folder: Path) -> None:
    named: list[tuple[Where, str]] = [
        (("requests", index, "folder"), request.folder)
        for index, request in enumerate(scenario.requests)
        if request.folder is not None
    ]
    if scenario.load.replay is not None:
        named.append((("load", "replay", "file"), scenario.load.replay.file))
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
