"""Files of a model's folder: its own, each a regular file, and read only so far.

A folder that was sent may name, or link to, what lies elsewhere on the disk, a pipe that never ends, or a
file larger than the memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from harness.schema.errors import InputError

LARGEST_JSON = 8 * 2**20
"""Bytes; what describes the largest models in Hugging Face's format has less, but a tokenizer."""


def own_file(folder: Path, name: str) -> Path:
    """The file `name` of `folder`, as it may be read.

    A link may lead to another file of the folder, or to a blob of Hugging Face's cache, whose folders are
    made of such links. Raises InputError where the file is outside, missing or no regular file.
    """
    path = folder / name
    parts = PurePosixPath(name)
    try:
        real = path.resolve()
        inside = real.is_relative_to(folder.resolve()) or _is_blob(real)
        regular = real.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links that lead in a circle
        raise InputError(f"{folder} names the file {name[:80]!r}, which can't be read: {error}") from error
    if parts.is_absolute() or ".." in parts.parts or not inside:
        raise InputError(
            f"{folder} names a file outside of it, {name[:200]!r} ({real}): copy it into the folder"
        )
    if not regular:
        missing = "no regular file" if path.exists() else "missing"
        raise InputError(f"{path} is {missing}: copy the model's folder again, with all its files")
    return path


def has(folder: Path, name: str) -> bool:
    """Whether something of that name is there, a broken link included. False too for what can't be a name."""
    path = folder / name
    try:
        return path.exists() or path.is_symlink()
    except (OSError, ValueError):
        return False


def own_json(folder: Path, name: str) -> Any:
    """What a JSON file of `folder` holds. Raises InputError where it is no JSON, or more than 8 MiB of it."""
    path = own_file(folder, name)
    try:
        with path.open("rb") as stream:
            text = stream.read(LARGEST_JSON + 1)
        if len(text) > LARGEST_JSON:
            raise InputError(f"{path} has more than {LARGEST_JSON // 2**20} MiB: it is no file of a model's")
        return json.loads(text.decode("utf-8"))
    except RecursionError as error:
        raise InputError(f"{path} is nested too deep: copy the model's folder again") from error
    except (OSError, ValueError) as error:
        said = str(error)[:200]
        raise InputError(f"{path} can't be read ({said}): copy the model's folder again") from error


def own_object(folder: Path, name: str) -> dict[str, Any]:
    """As `own_json`, where it has to be an object."""
    found = own_json(folder, name)
    if not isinstance(found, dict):
        raise InputError(f"{folder / name} is no JSON object: copy the model's folder again")
    return found


def within(document: Any) -> Iterator[Any]:
    """What JSON holds, at any depth: itself, and all the values in it."""
    waiting = [document]
    while waiting:
        at = waiting.pop()
        yield at
        if isinstance(at, dict | list):
            waiting += at.values() if isinstance(at, dict) else at


def keys(document: Any) -> Iterator[tuple[str, Any]]:
    """Every key of JSON with its value, at any depth."""
    return (item for each in within(document) if isinstance(each, dict) for item in each.items())


def _is_blob(path: Path) -> bool:
    return path.parent.name == "blobs" and (path.parent.parent / "snapshots").is_dir()
