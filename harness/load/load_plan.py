"""What the driver hands to the load process: a plan in JSON, and one file with every prepared request."""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, ValidationError

from harness.load.arrivals import Times
from harness.load.endpoint import Endpoint
from harness.schema.errors import InputError
from harness.schema.frozen import Frozen
from harness.schema.turns import Turns

PLAN_VARIABLE = "HARNESS_LOAD_PLAN"
"""The environment variable with the plan's path."""
CHANNEL_VARIABLE = "HARNESS_LOAD_CHANNEL"
"""Set by the driver for a load process that is alone: "read,write", two inherited pipes."""
TOKEN_VARIABLE = "HARNESS_LOAD_TOKEN"
"""What a load process and whoever ends it know of it; no argument, which other users could read."""

_PLAN, _PAYLOADS = "load-plan.json", "load-payloads.bin"
_FILES = (_PLAN, _PAYLOADS, "load-times-warmup.npy", "load-times-measure.npy")
_ALIGNED = 64
_FREE_BYTES = 1 << 28
"""What is left of a load process's disk, whatever it is handed."""


_Place = Annotated[int, Field(ge=0, lt=1 << 48)]
_Seconds = Annotated[float, Field(ge=0, le=1e9)]


class PlannedSequence(Frozen):
    """How the requests of a class follow each other."""

    between: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1, le=1 << 20)]] | None
    """The shortest and the longest; None where a stream says it."""
    streams: tuple[tuple[_Place, Annotated[int, Field(ge=1)]], ...] = ()
    """(first variant, steps) of each stream of data; none where each step sends any variant."""


class PlannedClass(Frozen):
    """One request class: where its prepared requests are in the payload file."""

    name: Annotated[str, Field(max_length=1000)]
    weight: Annotated[float, Field(gt=0, le=1e6)]
    destination: Annotated[int, Field(ge=0, lt=256)] = 0
    """To which of the plan's endpoints it goes."""
    requests: Annotated[tuple[tuple[_Place, _Place], ...], Field(min_length=1)]
    """(offset, length) of each variant, one slot after the other."""
    sequence: PlannedSequence | None = None
    """None where requests don't belong together."""


class LoadPlan(Frozen):
    """The load of one point, with everything that can be decided beforehand."""

    endpoint: Endpoint
    others: tuple[Endpoint, ...] = ()
    """Where the load goes besides: each is an arm, and has it in `turns`, or a replica, and has its share.
    `endpoint` is the first."""
    turns: Turns | None = None
    """How arms follow each other; None where there are none."""
    classes: tuple[PlannedClass, ...]
    """All those of the first destination, then those of the next."""
    seed: Annotated[int, Field(ge=0)]
    slots: Annotated[int, Field(ge=1, le=1 << 20)] = 1
    """How many connections may each have requests of their own; see harness.load.shared_memory.regions."""
    concurrency: Annotated[int, Field(ge=1)] | None
    """Users of a closed loop; None for an open one, whose times are in files beside the plan."""
    warmup_s: _Seconds
    limit_s: _Seconds
    """Longest the measured phase may take to send; the driver may end it earlier."""

    keep_answers: bool = False
    """Whether some answers are kept, to be compared: those that come over the wire."""

    @property
    def in_sequences(self) -> bool:
        return any(each.sequence is not None for each in self.classes)

    @property
    def largest_request(self) -> int:
        """In bytes, as prepared."""
        return max(length for each in self.classes for _, length in each.requests)


def write_plan(plan: LoadPlan, times: dict[str, Times], folder: Path) -> Path:
    """Write the plan and an open loop's times for "warmup" and "measure"; the path of the plan."""
    for phase, values in times.items():
        np.save(_times(folder, phase), values, allow_pickle=False)
    path = folder / _PLAN
    path.write_text(plan.model_dump_json(indent=1))
    return path


def read_plan(path: Path) -> LoadPlan:
    """Raises InputError for a file that is no plan."""
    try:
        return LoadPlan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"the load plan {path} can't be read ({error.strerror}): set {PLAN_VARIABLE} to one that "
            "`harness run` wrote"
        ) from error
    except ValidationError as error:
        raise InputError(
            f"{path} is not a load plan of this version: set {PLAN_VARIABLE} to one that `harness run` wrote"
        ) from error


def read_times(path: Path, phase: str) -> Times | None:
    """An open loop's times beside the plan at `path`; None for a closed loop, and a phase without any.

    Raises InputError for a file that has none.
    """
    file = _times(path.parent, phase)
    if not file.exists():
        return None
    try:
        with file.open("rb") as text:
            times: Times = np.load(text, allow_pickle=False)
        column = isinstance(times, np.ndarray) and times.dtype == np.float64 and times.ndim == 1
        if column and (np.diff(times, prepend=0.0, append=1e9) >= 0).all():
            return times
    except Exception:  # numpy has Python's own parsers read the header, each with errors of its own
        pass
    raise InputError(f"{file} has no times of an open loop: take the files that `harness run` wrote together")


class PayloadFile:
    """Prepared requests end to end, each aligned; written once, then mapped by the load process."""

    @staticmethod
    def write(requests: Iterable[Sequence[bytes]], folder: Path) -> list[tuple[tuple[int, int], ...]]:
        """Write the variants of each class; (offset, length) of each variant of each class."""
        places = []
        with (folder / _PAYLOADS).open("wb") as out:
            for variants in requests:
                of_class = []
                for request in variants:
                    out.write(bytes(-out.tell() % _ALIGNED))
                    of_class.append((out.tell(), len(request)))
                    out.write(request)
                places.append(tuple(of_class))
        return places

    @staticmethod
    def read(plan: LoadPlan, path: Path) -> list[list[list[memoryview]]]:
        """The prepared requests, by slot, class and variant, without copying; `path` is the plan's.

        Raises InputError where the file hasn't what the plan says.
        """
        try:
            with (path.parent / _PAYLOADS).open("rb") as file:
                view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError):
            view = memoryview(b"")
        places = [place for each in plan.classes for place in each.requests]
        uneven = any(len(each.requests) % plan.slots for each in plan.classes)
        if not places or uneven or any(at + size > len(view) or not size for at, size in places):
            raise InputError(
                f"the requests beside {path} are not those of the plan: take the files that `harness run` "
                "wrote together"
            )
        whole = [[view[at : at + size] for at, size in each.requests] for each in plan.classes]
        return [
            [
                requests[len(requests) // plan.slots * slot :][: len(requests) // plan.slots]
                for requests in whole
            ]
            for slot in range(plan.slots)
        ]


def plan_files(path: Path) -> list[Path]:
    """The plan at `path` and what stands beside it."""
    return [file for name in _FILES if (file := path.with_name(name)).exists()]


def accept_file(folder: Path, name: str, at: int, data: bytes) -> int:
    """Write a part of one of the plan's files, from another machine, into `folder`; how many bytes.

    Raises ValueError for a name that no plan has and a part that doesn't follow the last one, OSError where
    the disk is nearly full. Nothing else is written, whatever is sent.
    """
    if name not in _FILES:
        raise ValueError(f"{name[:40]!r} is no file of a load plan")
    path = folder / name
    due = path.stat().st_size if at and path.exists() else 0
    if at != due:
        raise ValueError(f"byte {at} of {name} came, and {due} was due")
    if shutil.disk_usage(folder).free < _FREE_BYTES + len(data):
        raise OSError(f"less than {_FREE_BYTES >> 20} MiB are left of the disk of {folder}")
    with path.open("ab" if at else "wb") as file:
        file.write(data)
    return len(data)


def _times(folder: Path, phase: str) -> Path:
    return folder / f"load-times-{phase}.npy"
