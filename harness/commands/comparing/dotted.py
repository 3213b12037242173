"""Two documents by dotted path, and where they differ: scenarios, environments."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any


def flat(value: Any, path: str = "", *, without: Container[str] = ()) -> dict[str, str]:
    """Each plain value of a JSON document, in words, by its dotted path; keys `without` are left out."""
    if isinstance(value, dict):
        inner = {key: each for key, each in value.items() if key not in without}
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        inner = {str(number): each for number, each in enumerate(value)}
    else:
        return {path: value if isinstance(value, str) else json.dumps(value)}
    found: dict[str, str] = {}
    for key, each in inner.items():
        found |= flat(each, f"{path}.{key}" if path else key, without=without)
    return found


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """By path, what both have where it isn't the same."""
    return {
        path: (one.get(path, "left out"), other.get(path, "left out"))
        for path in dict.fromkeys((*one, *other))
        if one.get(path) != other.get(path)
    }
