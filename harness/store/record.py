"""The JSON records of a run's folder, read as what anybody may have sent: bounded, and checked for sense."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from harness.plain_file import TooLarge, read_plain
from harness.schema.samples import GpuProcess, GpuReading, HostReading
from harness.store import whole

FORMAT: Literal[2] = 2
"""Number of the format of a run's folder: `run.json` and each `point.json` say it, as `schema_version`. It
changes with whatever a harness of before can't read any more. A folder of harness 0.1 says none."""

MOST_BYTES = 4_000_000
"""Bytes of one record. harness writes some tens of kilobytes, and into `scenario.json` not much more than the
scenario is long."""

LARGEST = 2**62
"""No number in a record or a sample is beyond it: times are nanoseconds since a start (146 years), sizes are
bytes. Sums and differences of two stay within 64 bits."""

_Content = TypeVar("_Content")


def read_record(
    file: Path, parsed: Callable[[bytes], _Content], most_bytes: int = MOST_BYTES, *, known: int = FORMAT
) -> _Content:
    """A record, as `parsed` reads it; `known` is the last format of it that this harness reads.

    Raises NotWhole where it isn't there, can't be read, or isn't one, and Later for one of a later format.
    """
    content = read_whole(file, most_bytes)
    try:
        found = parsed(content)
    except ValueError as error:  # pydantic's, too
        number = _format_of(content)
        raise (whole.later(file, number, known) if number > known else whole.damaged(file)) from error
    if not possible(found):
        raise whole.damaged(file, "it has numbers that nothing can have")
    return found


def read_whole(file: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """The bytes of a file that every run has. Raises NotWhole where there are none to be had."""
    try:
        return read_plain(file, most_bytes)
    except FileNotFoundError as error:
        raise whole.missing(file) from error
    except OSError as error:
        raise whole.unreadable(file, error) from error
    except TooLarge as error:
        raise whole.damaged(file, f"it is over {most_bytes / 1e6:g} MB") from error


def _format_of(content: bytes) -> int:
    """The number of the format that a record says it has; 0 where it doesn't."""
    try:
        number = json.loads(content)["schema_version"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return 0
    return number if type(number) is int else 0


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
