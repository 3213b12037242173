"""What the driver hands to the load process: a plan in JSON, and one file with every prepared request."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from harness.load.arrivals import Times
from harness.load.tls import Tls
from harness.schema.errors import InputError
from harness.schema.frozen import Frozen
from harness.schema.scenario import Protocol

PLAN_VARIABLE = "HARNESS_LOAD_PLAN"
"""The environment variable with the plan's path."""
CHANNEL_VARIABLE = "HARNESS_LOAD_CHANNEL"
"""Set by the driver for a load process that is alone: "read,write", two inherited pipes."""

_PLAN, _PAYLOADS = "load-plan.json", "load-payloads.bin"
_FILES = (_PLAN, _PAYLOADS, "load-times-warmup.npy", "load-times-measure.npy")
_ALIGNED = 64


class PlannedClass(Frozen):
    """One request class: where its prepared requests are in the payload file."""

    name: str
    weight: float
    requests: tuple[tuple[int, int], ...]
    """(offset, length) of each variant, one slot after the other."""


class LoadPlan(Frozen):
    """The load of one point, with everything that can be decided beforehand."""

    protocol: Protocol
    host: str
    port: int
    tls: Tls | None = None
    """Of a gRPC endpoint; its files are read by each load process, on its own machine."""
    classes: tuple[PlannedClass, ...]
    seed: int
    timeout_s: float
    slots: int = 1
    """How many connections may each have requests of their own; see harness.load.shared_memory."""
    concurrency: int | None
    """Users of a closed loop; None for an open one, whose times are in files beside the plan."""
    warmup_s: float
    limit_s: float
    """Longest the measured phase may take to send; the driver may end it earlier."""

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
        return LoadPlan.model_validate_json(path.read_text())
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
    """An open loop's times beside the plan at `path`; None for a closed loop, and a phase without any."""
    file = _times(path.parent, phase)
    return np.load(file, allow_pickle=False) if file.exists() else None


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
        """The prepared requests, by slot, class and variant, without copying; `path` is the plan's."""
        with (path.parent / _PAYLOADS).open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
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

    Raises ValueError for a name that no plan has: nothing else is written, whatever is sent.
    """
    if name not in _FILES:
        raise ValueError(f"{name!r} is no file of a load plan")
    with (folder / name).open("r+b" if at else "wb") as file:
        file.seek(at)
        file.write(data)
    return len(data)


def _times(folder: Path, phase: str) -> Path:
    return folder / f"load-times-{phase}.npy"
