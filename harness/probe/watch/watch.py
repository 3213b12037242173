"""What observes the GPUs of one point, beside the readings of this host: from here, or from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from harness.schema.result import GpuEnvironment, GpuProbe
from harness.schema.samples import GpuReading, HostReading


@dataclass(frozen=True, slots=True)
class Seen:
    """What a watch has observed. Times are CLOCK_MONOTONIC of this machine."""

    gpus: tuple[GpuEnvironment, ...] = ()
    no_gpu: str | None = None
    """Why there are none, in words."""
    gpu: Sequence[GpuReading] = ()
    probe: GpuProbe | None = None
    """None where nothing was read."""
    problems: tuple[str, ...] = ()
    host: Sequence[HostReading] = ()
    """The readings of the server's machine, where that is another."""
    same_host: bool = True
    """Whether `host`, if there is any, was read on this machine's kernel."""


class Watch(Protocol):
    """A watch is used once: started, stopped, then asked. It never raises: what goes wrong is a problem."""

    def start(self) -> None:
        """Begin, and return once the first readings are taken."""

    def rest(self) -> bool:
        """Wait until the GPUs have been idle for long enough to know their idle power, or waiting longer is
        of no use. Returns False at once where there is no GPU, or it is read too rarely."""

    def stop(self) -> None:
        """Take the last readings, and end whatever runs. Takes a few seconds at most."""

    def seen(self, server: Set[int], others: Set[int]) -> Seen:
        """What was observed, after the stop. `server` and `others` are the ids that the server's and
        harness's processes had."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """A watch where there is no GPU to be seen, and why."""

    why: str

    def start(self) -> None:
        return

    def rest(self) -> bool:
        return False

    def stop(self) -> None:
        return

    def seen(self, server: Set[int], others: Set[int]) -> Seen:  # noqa: ARG002 - a Watch's
        return Seen(no_gpu=self.why)


def looked(readings: Sequence[GpuReading], nominal_s: float) -> float:
    """Mean seconds between two readings of a device; `nominal_s` where there is one reading only."""
    times = sorted({reading.at_ns for reading in readings if reading.device == readings[0].device})
    return (times[-1] - times[0]) / 1e9 / (len(times) - 1) if len(times) > 1 else nominal_s
