"""What harness says over Locust's channel, between its master and its workers, and the door it comes in by.

A worker says `hello`; it gets the `file`s of the plan where it is on another machine, and an order to `go` as
number so and so. From then on it talks with the driver as a load process that is alone does, with the master
in between (`harness.load.coordinator.driver` lists the words), and sends home what it records.

Either end may be anybody: what comes is one of these words, with all that belongs to it and nothing else, or
it is `Malformed`.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from harness.version import version

PROTOCOL = 2
"""Number of these words. It changes with each word that either end can't do without."""

TYPE = "harness"
"""The type of all these messages, among Locust's own."""

CHUNK = 1 << 18
"""Bytes of a file in one message."""
UNDERWAY = 1 << 22
"""Bytes of a file that may be in flight: Locust's channel itself drops what its peer doesn't take."""

_LONGEST = 300
"""Characters of a text that are kept."""


class Malformed(ValueError):
    """It is no word of harness's; the text says where it isn't."""


_Text = Annotated[str, AfterValidator(lambda text: text[:_LONGEST])]
_Name = Annotated[str, Field(max_length=64)]
_Worker = Annotated[int, Field(ge=0, lt=1 << 16)]
_Count = Annotated[int, Field(ge=0, lt=1 << 62)]
_Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
_Elapsed = Annotated[float, Field(ge=-1e10, le=1e10, allow_inf_nan=False)]
"""Seconds: less than nothing for a phase that is to begin, and the machine's uptime where there is none."""
_Time = Annotated[int, Field(ge=0, lt=1 << 62)]
"""CLOCK_MONOTONIC: that many nanoseconds are a century."""
_When = Annotated[int, Field(gt=-(1 << 62), lt=1 << 62)]
_Phase = Literal["WARMUP", "MEASURE"]
_Chunk = Annotated[bytes, Field(max_length=CHUNK)]

_exact = with_config(ConfigDict(strict=True, extra="forbid"))


# A worker says:


@_exact
class _Hello(TypedDict):
    event: Literal["hello"]
    token: _Name
    wants: _Worker | None
    host: _Text
    pid: _Count
    versions: Annotated[dict[_Name, _Name], Field(max_length=8)]


@_exact
class _Lost(TypedDict):
    event: Literal["lost"]
    token: _Name
    how: _Text


@_exact
class _Pong(TypedDict):
    event: Literal["pong"]
    sent_ns: _Time
    at_ns: _Time


@_exact
class _Received(TypedDict):
    event: Literal["received"]
    bytes: _Count


@_exact
class _Recorded(TypedDict):
    event: Literal["recorded"]
    kind: Literal["reasons", "spool"]
    at: _Count
    data: _Chunk


@_exact
class _Here(TypedDict):
    event: Literal["here"]
    host: _Text
    pid: _Count


@_exact
class _Ready(TypedDict):
    event: Literal["ready"]
    users: _Count


@_exact
class _Progress(TypedDict):
    event: Literal["progress"]
    phase: _Phase | None
    succeeded: _Count
    failed: _Count
    elapsed_s: _Elapsed


@_exact
class _Over(TypedDict):
    event: Literal["over"]
    phase: _Phase | None
    window: Annotated[list[_Time], Field(min_length=2, max_length=2)] | None
    cpu_s: _Seconds | None
    requests: _Count
    spool_bytes: _Count
    text_bytes: _Count


@_exact
class _Failed(TypedDict):
    event: Literal["failed"]
    reason: _Text


# What the master says to a worker:


@_exact
class _Word(TypedDict):
    do: Literal["wait", "heard", "stop", "end"]


@_exact
class _Ping(TypedDict):
    do: Literal["ping"]
    sent_ns: _Time


@_exact
class _Kept(TypedDict):
    do: Literal["kept"]
    bytes: _Count


@_exact
class _File(TypedDict):
    do: Literal["file"]
    name: _Name
    at: _Count
    data: _Chunk


@_exact
class _Go(TypedDict):
    do: Literal["go"]
    worker: _Worker
    of: Annotated[int, Field(ge=1, lt=1 << 16)]


@_exact
class _Refuse(TypedDict):
    do: Literal["refuse"]
    why: _Text


@_exact
class _Begin(TypedDict):
    do: Literal["begin"]
    phase: _Phase
    at_ns: _When
    seconds: _Seconds


@_exact
class _Enough(TypedDict):
    do: Literal["enough"]
    at_ns: _When


_SAID: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        _Hello | _Lost | _Pong | _Received | _Recorded | _Here | _Ready | _Progress | _Over | _Failed,
        Field(discriminator="event"),
    ]
)
_TOLD: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        _Word | _Ping | _Kept | _File | _Go | _Refuse | _Begin | _Enough,
        Field(discriminator="do"),
    ]
)


def said(data: Any) -> dict[str, Any]:
    """A worker's word, as it came. Raises Malformed."""
    return _parsed(_SAID, data)


def told(data: Any) -> dict[str, Any]:
    """A master's word, as it came. Raises Malformed."""
    return _parsed(_TOLD, data)


def _parsed(door: TypeAdapter[Any], data: Any) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = door.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"][:4]) or "word"
        raise Malformed(f"{where}: {first['msg'][:100]}") from error
    return parsed


def versions() -> dict[str, str]:
    """What must be the same at both ends."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"protocol": str(PROTOCOL), "harness": version(), "Python": python}


def differing(here: dict[str, str], there: dict[str, str]) -> str | None:
    """What isn't the same, in words for the one that is there."""
    wrong = [name for name in here if there.get(name) != here[name]]
    if not wrong:
        return None
    named = (f"{name} {there.get(name, 'of an unknown version')}" for name in wrong)
    wanted = (f"{name} {here[name]}" for name in wrong)
    return f"{', '.join(named)} is here, and {', '.join(wanted)} where the run is"
