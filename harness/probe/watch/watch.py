"""What observes the GPUs of one point, beside the readings of this host: from here, or from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from harness.schema.result import GpuEnvironment, GpuProbe
from harness.schema.samples import GpuReading, HostReading


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of it. Times are CLOCK_MONOTONIC of this machine."""

    gpus: tuple[GpuEnvironment, ...] = ()
    no_gpu: str | None = None
    """Why there are none, in words."""
    gpu: Sequence[GpuReading] = ()
    probe: GpuProbe | None = None
    """None where nothing was read."""
    problems: tuple[str, ...] = ()
    host: Sequence[HostReading] = ()
    """Of the server's machine, where that is another."""
    same_host: bool = True
    """`host`, if there is any, is of this machine's kernel."""


class Watch(Protocol):
    """Used once: started, stopped, then asked. Nothing that goes wrong raises; it is one of the problems."""

    def start(self) -> None:
        """Return with the first readings taken."""

    def rest(self) -> bool:
        """Wait until the GPUs have done nothing for long enough to know what that costs, or it is no use to
        wait on. False, at once, where there is no GPU or it is looked at too rarely."""

    def stop(self) -> None:
        """Take the last readings, and end whatever runs. Takes a few seconds at most."""

    def seen(self, server: Set[int], others: Set[int]) -> Seen:
        """After the stop. `server` and `others`: the ids that the server's and harness's processes had."""


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
    """Seconds between two looks, as they came."""
    times = sorted({reading.at_ns for reading in readings if reading.device == readings[0].device})
    return (times[-1] - times[0]) / 1e9 / (len(times) - 1) if len(times) > 1 else nominal_s
