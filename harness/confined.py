"""Files that a scenario names must be in its folder: one that was sent must not read the rest of the disk."""

from __future__ import annotations

from pathlib import Path

from harness.schema.errors import InputError


def confined(folder: Path, given: str, what: str) -> Path:
    """The path `given`, taken from `folder`, with its links resolved.

    Raises InputError, beginning with `what`, where it leads out of `folder`: by `..`, a link, or as an
    absolute path.
    """
    top = folder.resolve()
    if "\0" in given or not (path := (top / given).resolve()).is_relative_to(top):
        raise InputError(f"{what} leaves the scenario's folder: keep its data beside the scenario")
    return path
