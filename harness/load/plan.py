"""What the driver hands to the load process: a plan in JSON, and one file with every prepared request."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from harness.load.arrivals import Times
from harness.schema.errors import InputError
from harness.schema.frozen import Frozen
from harness.schema.scenario import Protocol

PLAN_VARIABLE = "HARNESS_LOAD_PLAN"
"""The environment variable with the plan's path."""
CHANNEL_VARIABLE = "HARNESS_LOAD_CHANNEL"
"""Set by the driver: "read,write", the two inherited pipes. Without it the load runs until it is stopped."""

_PLAN, _PAYLOADS = "load-plan.json", "load-payloads.bin"
_ALIGNED = 64


class PlannedClass(Frozen):
    """One request class: where its prepared requests are in the payload file."""

    name: str
    weight: float
    requests: tuple[tuple[int, int], ...]
    """(offset, length) of each variant."""


class LoadPlan(Frozen):
    """The load of one point, with everything that can be decided beforehand."""

    protocol: Protocol
    host: str
    port: int
    classes: tuple[PlannedClass, ...]
    seed: int
    timeout_s: float
    concurrency: int | None
    """Users of a closed loop; None for an open one, whose times are in files beside the plan."""
    warmup_s: float
    duration_s: float
    at_most_s: float
    """A closed loop goes on up to this while fewer than `min_requests` have succeeded."""
    min_requests: int


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
    def write(requests: Sequence[Sequence[bytes]], folder: Path) -> list[tuple[tuple[int, int], ...]]:
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
    def read(plan: LoadPlan, path: Path) -> list[list[memoryview]]:
        """The prepared requests, by class and variant, without copying them; `path` is the plan's."""
        with (path.parent / _PAYLOADS).open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return [[view[at : at + size] for at, size in each.requests] for each in plan.classes]


def _times(folder: Path, phase: str) -> Path:
    return folder / f"load-times-{phase}.npy"
