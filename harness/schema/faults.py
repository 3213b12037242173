"""What is wrong with data that somebody wrote, in sentences: the key, what it is, and what it may be."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness.schema.load import Load

Where = tuple[str | int, ...]
"""Path of a value: keys and list indices from the top."""


def explained(model: type[BaseModel], data: Any, error: ValidationError) -> list[tuple[Where, str]]:
    """A sentence for each fault that `model` finds in `data`, and where it is."""
    told: dict[Where, str] = {}
    found = [(_where(d, data), d) for d in error.errors(include_url=False)]
    # Complaints about a member of a union that the user didn't mean, last: they count only where alone.
    found.sort(key=lambda one: _beside_the_point(one[1], one[0], data))
    for where, detail in found:
        if _beside_the_point(detail, where, data) and any(w[: len(where)] == where for w in told):
            continue
        told.setdefault(where, _sentence(model, detail, where, data))
    return list(told.items())


def nearest(word: str, options: Iterable[str]) -> str:
    """What was likely meant, as the end of a sentence; empty where nothing is near."""
    close = difflib.get_close_matches(short(word), list(options), n=1, cutoff=0.5)
    return f": did you mean `{close[0]}`?" if close else ""


def meant(word: str, options: Collection[str]) -> str:
    """The same; all that there are where nothing is near."""
    return nearest(word, options) or f": there are {', '.join(options)}"


def short(text: str) -> str:
    """As much of what a file says as a sentence can hold."""
    return text if len(text) <= 60 else text[:57] + "…"


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


def _sentence(model: type[BaseModel], detail: ErrorDetails, where: Where, data: Any) -> str:
    key = short(".".join(str(step) for step in where)) or "the scenario"
    kind, context = detail["type"], detail.get("ctx", {})
    given = _shown(_at(data, where))
    if kind == "extra_forbidden":
        return _unknown(model, where, key)
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
        near = nearest(str(_at(data, where)), options)
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


def _unknown(model: type[BaseModel], where: Where, key: str) -> str:
    names = list(_fields(model, where[:-1]))
    near = nearest(str(where[-1]), names)
    return f"unknown key `{key}`{near or ': the keys here are ' + ', '.join(names)}"


def _fields(model: type[BaseModel], where: Where) -> Iterable[str]:
    """Names of the keys that may stand in the mapping at `where`."""
    for step in where:
        if isinstance(step, str) and step in model.model_fields:
            found = _model_in(model.model_fields[step].annotation)
            if found is None:
                return []
            model = found.written() if issubclass(found, Load) else found
    return model.model_fields


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
