"""What a reader of GPUs (`harness.probe.reader.reader`) writes while it reads: lines of JSON.

A line is one object with one key, which says what it is:

    hello    the devices, or why there are none, and the machine; the first line
    gpu      one GpuReading; what is None is left out
    host     one HostReading of the machine, where the reader was asked for them
    kin      one ProcessInfo: a process on a GPU, as /proc described it when it was first listed
    ours     KnownProcesses: those of the server and those of the observer, so far
    cost     what the reading has cost so far
    learnt   what can't be read, and what went wrong, so far
    end      the reader came to its end by itself

Times are CLOCK_MONOTONIC of the machine that was read. A reader that was killed leaves all but its last line.

`harness probe --serve` sends these lines to runs, which take them from the same harness only: the first line
says which it is. A member that came after 0.1 may be absent, and an unknown one is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from harness.http_json import parsed
from harness.plain_text import quoted
from harness.probe.thinning import (
    FIRST_OF_A_GPU,
    MOST,
    MOST_OF_A_GPU,
    Thinning,
    of_gpus,
    of_hosts,
)
from harness.schema.result import GpuEnvironment
from harness.schema.samples import GpuReading, HostReading

PROTOCOL = 2
LONGEST_LINE = 1 << 20
"""The most bytes of a line. The longest describes a machine's devices, in a kilobyte or two each."""
MOST_DEVICES = 1024
_LARGEST = 1 << 63
"""Whole numbers are below this, so that they fit where they are counted with."""


@dataclass(frozen=True, slots=True)
class Hello:
    devices: Annotated[tuple[GpuEnvironment, ...], Field(max_length=MOST_DEVICES)]
    unavailable: str | None
    host: str
    """The machine's name for itself."""
    boot_id: str | None
    """The running kernel's id, which is the same for all that share its clock."""
    cores: Annotated[int, Field(gt=0, lt=1 << 20)]
    sources: Annotated[tuple[str, ...], Field(max_length=64)] | None = None
    """The vendors whose GPUs are read, by name (`harness.probe.vendors`). None from a reader of 0.1."""
    harness: str | None = None
    """Which harness reads (`harness.version`). None from a reader of 0.1."""
    protocol: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    """The number of these lines, and of the questions that `harness probe --serve` answers with them."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    pid: int
    name: str
    ancestors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KnownProcesses:
    server: tuple[int, ...]
    others: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    cpu_s: float
    over_s: float
    """Seconds since the first reading, over which `cpu_s` was used."""


@dataclass(frozen=True, slots=True)
class Unsupported:
    device: int
    mig_instance: int | None
    reasons: dict[str, str]


@dataclass(frozen=True, slots=True)
class Learnt:
    problems: Annotated[tuple[str, ...], Field(max_length=1000)]
    unsupported: tuple[Unsupported, ...]


@dataclass(frozen=True, slots=True)
class End:
    pass


Line = Hello | GpuReading | HostReading | ProcessInfo | KnownProcesses | Cost | Learnt | End

_KINDS: dict[str, type[Any]] = {
    "hello": Hello,
    "gpu": GpuReading,
    "host": HostReading,
    "kin": ProcessInfo,
    "ours": KnownProcesses,
    "cost": Cost,
    "learnt": Learnt,
    "end": End,
}
_WORDS = {kind: word for word, kind in _KINDS.items()}
_NAMES = {kind: tuple(f.name for f in fields(kind)) for kind in _KINDS.values()}
_PARSED = {word: TypeAdapter(kind) for word, kind in _KINDS.items()}
_ABSENT: dict[str, dict[str, Any]] = {word: dict.fromkeys(_NAMES[kind]) for word, kind in _KINDS.items()}


def encoded(line: Line) -> bytes:
    """The line as it stands in the file."""
    kind = type(line)
    values = {name: value for name in _NAMES[kind] if (value := getattr(line, name)) is not None}
    return _JSON.encode({_WORDS[kind]: values}).encode() + b"\n"


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, GpuEnvironment) else asdict(value)


def _in_bounds(value: Any) -> Any:
    """A line's value with every text in it fit to be shown. Raises ValueError for a number without bounds."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return [_in_bounds(each) for each in value]
    if isinstance(value, dict):
        return {quoted(name): _in_bounds(each) for name, each in value.items()}
    if isinstance(value, float) and abs(value) >= _LARGEST:
        raise ValueError("a number without bounds")
    return value


_JSON = json.JSONEncoder(separators=(",", ":"), default=_plain)


def in_time(reading: GpuReading) -> tuple[int, int, int]:
    """To order by: readings of several devices at one time by their numbers."""
    return (reading.at_ns, reading.device, -1 if reading.mig_instance is None else reading.mig_instance)


@dataclass(slots=True)
class Spool:
    """All that a reader has written; of very many readings, fewer that stand for all."""

    hello: Hello | None = None
    of_gpus: dict[tuple[int, int | None], Thinning[GpuReading]] = field(default_factory=dict)
    """By device and MIG device of it."""
    of_host: Thinning[HostReading] = field(default_factory=lambda: Thinning(of_hosts, MOST))
    process_info: dict[int, ProcessInfo] = field(default_factory=dict)
    server: set[int] = field(default_factory=set)
    others: set[int] = field(default_factory=set)
    cost: Cost | None = None
    learnt: Learnt = field(default=Learnt((), ()))
    ended: bool = False
    unreadable: int = 0
    """Lines that were not understood. The last one isn't counted: it may be cut off."""
    foreign: bool = False
    """It was written on another machine: its texts are made fit to be shown, its numbers are bounded."""

    @classmethod
    def read(cls, path: Path, *, foreign: bool = False) -> Spool:
        """What stands in the file so far; an empty spool where there is no file."""
        spool = cls(foreign=foreign)
        try:
            with path.open("rb") as lines:
                spool.take(lines)
        except FileNotFoundError:
            pass
        return spool

    def take(self, lines: Iterable[bytes]) -> None:
        """Go on with more lines. A line without its end is left out."""
        for text in lines:
            if not text.endswith(b"\n"):
                return
            try:
                if len(text) > LONGEST_LINE:
                    raise ValueError("a line that no reader writes")
                ((word, values),) = self._parsed(text).items()
                line = _PARSED[word].validate_python(_ABSENT[word] | values)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError):
                self.unreadable += 1
            else:
                self._take(line)

    def _parsed(self, text: bytes) -> Any:
        found = parsed(text, _LARGEST)
        return _in_bounds(found) if self.foreign else found

    def _take(self, line: Line) -> None:
        match line:
            case GpuReading():
                key = (line.device, line.mig_instance)
                if key not in self.of_gpus:
                    self.of_gpus[key] = Thinning(of_gpus, MOST_OF_A_GPU, FIRST_OF_A_GPU)
                self.of_gpus[key].add(line)
            case HostReading():
                self.of_host.add(line)
            case Hello():
                self.hello = line
            case ProcessInfo():
                self.process_info[line.pid] = line
            case KnownProcesses():
                self.server |= set(line.server)
                self.others |= set(line.others)
            case Cost():
                self.cost = line
            case Learnt():
                self.learnt = line
            case End():
                self.ended = True

    @property
    def gpu(self) -> list[GpuReading]:
        """In the order of time; of a long point they are further apart."""
        return sorted(chain.from_iterable(each.kept for each in self.of_gpus.values()), key=in_time)

    @property
    def host(self) -> list[HostReading]:
        """The same of the machine."""
        return self.of_host.kept

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong with reading, one sentence each."""
        if not self.unreadable:
            return self.learnt.problems
        return (*self.learnt.problems, f"{self.unreadable} lines of the GPU probe could not be read")

    def devices(self) -> tuple[GpuEnvironment, ...]:
        """The devices, with what was learnt about them since they were first described."""
        if self.hello is None:
            return ()
        learnt = {(u.device, u.mig_instance): u.reasons for u in self.learnt.unsupported}
        return tuple(
            d.model_copy(update={"unsupported": d.unsupported | learnt.get((d.device, d.mig_instance), {})})
            for d in self.hello.devices
        )
