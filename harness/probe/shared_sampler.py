"""One reader of this machine for several points that are measured at once."""

from __future__ import annotations

import time
from collections.abc import Sequence

from harness.probe.host import Pids
from harness.probe.sampler import Sampler
from harness.probe.watch.watch import Nothing
from harness.schema.result import GpuEnvironment, GpuProbe
from harness.schema.samples import GpuReading, HostReading

_LOOK_S = 0.02
_ALL = 1 << 30
"""Any of them may be the edge of a short point."""
_UNSEEN = "GPUs are not observed for points that are measured at once"


class SharedSampler:
    """Reads the host while its `with` lasts; each point takes a part of the readings.

    A Sampler for each would cost as much as their load, and disturb them.
    """

    def __init__(self, server_pids: Pids, client_pids: Pids) -> None:
        self._sampler = Sampler(server_pids, client_pids, watch=Nothing(_UNSEEN), most=_ALL)

    def __enter__(self) -> SharedSampler:
        self._sampler.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._sampler.__exit__(*error)

    @property
    def problems(self) -> tuple[str, ...]:
        return self._sampler.problems

    def part(self) -> Part:
        """What stands for a point's own Sampler."""
        return Part(self)

    def since(self, began_ns: int) -> list[HostReading]:
        """The readings since then, one after this call's begin among them: it closes the window."""
        now_ns = time.monotonic_ns()
        while self._sampler.host[-1].at_ns < now_ns:
            time.sleep(_LOOK_S)
        return [reading for reading in self._sampler.host if reading.at_ns >= began_ns]


class Part:
    """The readings between enter and exit, and one after; it is asked as a Sampler is."""

    gpu: Sequence[GpuReading] = ()
    gpus: tuple[GpuEnvironment, ...] = ()
    no_gpu: str | None = None
    gpu_probe: GpuProbe | None = None

    def __init__(self, shared: SharedSampler) -> None:
        self.host: list[HostReading] = []
        self._shared = shared
        self._began_ns = 0

    @property
    def problems(self) -> tuple[str, ...]:
        return self._shared.problems

    def idle(self) -> None:
        """No GPU is looked at, and so none while it is idle."""

    def __enter__(self) -> Part:
        self._began_ns = time.monotonic_ns()
        return self

    def __exit__(self, *_: object) -> None:
        self.host = self._shared.since(self._began_ns)
