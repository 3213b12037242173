"""A vendor of GPUs as another package would add it, whole: its GPUs do what stands in a file.

The file is JSON: `devices` has a name each, and `readings` has `after_s` since the GPUs were opened, `device`
and values by the names of `GpuReading`. The environment variable REPLAYED_GPUS names it.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from harness.schema.result import GpuEnvironment
from harness.schema.samples import GpuProcess, GpuReading

NOT_RECORDED = "the recording doesn't have it"


class ReplayedGpus:
    unavailable = None
    problems = ()

    def __init__(self, file: Path) -> None:
        recording = json.loads(file.read_text())
        self._readings: list[dict[str, Any]] = recording["readings"]
        named = {name for reading in self._readings for name in reading}
        absent = [name for name in GpuReading.__dataclass_fields__ if name not in named]
        self.devices = tuple(_environment(i, name, absent) for i, name in enumerate(recording["devices"]))
        self._began = 0.0
        self._next = 0

    def __enter__(self) -> ReplayedGpus:
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        return

    def read(self, *, everything: bool = False) -> tuple[GpuReading, ...]:
        at_ns, after_s = time.monotonic_ns(), time.monotonic() - self._began
        due: dict[int, GpuReading] = {}
        while self._next < len(self._readings) and self._readings[self._next]["after_s"] <= after_s:
            values = self._readings[self._next]
            due[values["device"]] = _reading(at_ns, values)
            self._next += 1
        if everything:
            for values in self._readings[: self._next][-len(self.devices) :]:
                due.setdefault(values["device"], _reading(at_ns, values))
        return tuple(due.values())


class Vendor:
    def missing(self) -> str | None:
        return None if "REPLAYED_GPUS" in os.environ else "no recording: REPLAYED_GPUS names none"

    def open(self) -> ReplayedGpus:
        return ReplayedGpus(Path(os.environ["REPLAYED_GPUS"]))


vendor = Vendor()


def _environment(device: int, name: str, absent: list[str]) -> GpuEnvironment:
    told = GpuEnvironment(
        device=device,
        name=name,
        uuid=f"REPLAYED-{device}",
        memory_bytes=64 << 30,
        driver="6.12",
        cuda_driver=None,
        power_limit_w=None,
        persistence=None,
        ecc=None,
        mig=None,
    )
    nulls = [field for field, value in told if value is None and field != "mig_instance"]
    return told.model_copy(update={"unsupported": dict.fromkeys([*nulls, *absent], NOT_RECORDED)})


def _reading(at_ns: int, values: dict[str, Any]) -> GpuReading:
    blank = dict.fromkeys(GpuReading.__dataclass_fields__)
    known = {name: value for name, value in values.items() if name != "after_s"}
    if "processes" in known:
        known["processes"] = tuple(GpuProcess(**process) for process in known["processes"])
    return GpuReading(**(blank | {"at_ns": at_ns} | known))
