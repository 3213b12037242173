"""The JSON records of a run's folder, read as what anybody may have sent: bounded, and checked for sense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from harness.plain_file import read_plain
from harness.schema.errors import InputError
from harness.schema.samples import GpuProcess, GpuReading, HostReading

MOST_BYTES = 4_000_000
"""Bytes of one record. harness writes some tens of kilobytes, and into `scenario.json` not much more than the
scenario is long."""

LARGEST = 2**62
"""No number in a record or a sample is beyond it: times are nanoseconds since a start (146 years), sizes are
bytes. Sums and differences of two stay within 64 bits."""

_Content = TypeVar("_Content")


def read_record(file: Path, parsed: Callable[[bytes], _Content], most_bytes: int = MOST_BYTES) -> _Content:
    """A record, as `parsed` reads it. Raises InputError where the file isn't one, and OSError as `open`."""
    try:
        found = parsed(read_plain(file, most_bytes))
    except ValueError as error:  # pydantic's, too
        raise not_ours(file) from error
    if not possible(found):
        raise not_ours(file)
    return found


def not_ours(file: Path) -> InputError:
    return InputError(
        f"{file} isn't a file this version of harness wrote: rebuild it with the version in result.json"
    )


def possible(found: Any) -> bool:
    """Whether each number in a record or a reading is one that something can have."""
    if isinstance(found, BaseModel):
        return all(map(possible, dict(found).values()))
    if isinstance(found, dict):
        return all(map(possible, found.values()))
    if isinstance(found, tuple | list):
        return all(map(possible, found))
    if isinstance(found, HostReading | GpuReading | GpuProcess):
        return all(possible(getattr(found, name)) for name in found.__slots__)
    return not isinstance(found, int | float) or abs(found) <= LARGEST  # nan isn't, either
