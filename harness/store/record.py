"""The JSON records of a run's folder, read as what anybody may have sent: bounded, and checked for sense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from harness.plain import read_plain
from harness.schema.errors import InputError

MOST_BYTES = 4_000_000
"""Of one record. harness writes some tens of kilobytes, and into `scenario.json` not much more than the
scenario is long."""

LARGEST = 2**62
"""No number in a record or a sample is beyond it: times are nanoseconds since a start (146 years), sizes are
bytes. Sums and differences of two stay within 64 bits."""

_Content = TypeVar("_Content")


def read_record(file: Path, parsed: Callable[[bytes], _Content], most_bytes: int = MOST_BYTES) -> _Content:
    """A record, as `parsed` reads it. Raises InputError where the file isn't one, and OSError as `open`."""
    try:
        found = parsed(read_plain(file, most_bytes))
        _check_numbers(found)
    except ValueError as error:  # pydantic's, too
        raise not_ours(file) from error
    return found


def not_ours(file: Path) -> InputError:
    return InputError(
        f"{file} isn't a file this version of harness wrote: rebuild it with the version in result.json"
    )


def _check_numbers(found: Any) -> None:
    """Raise ValueError for a number that nothing can have."""
    if isinstance(found, BaseModel):
        found = dict(found)
    if isinstance(found, dict):
        found = tuple(found.values())
    if isinstance(found, tuple | list):
        for each in found:
            _check_numbers(each)
    elif isinstance(found, int | float) and abs(found) > LARGEST:
        raise ValueError("a number too large to mean anything")
