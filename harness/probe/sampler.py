"""Reads host and GPUs at a fixed pace in a background thread while something else is measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from harness.probe.gpu import Gpus
from harness.probe.host import Host, Pids
from harness.schema.result import GpuEnvironment
from harness.schema.samples import GpuReading, HostReading


class Sampler:
    """Collects readings between enter and exit, the first and last of them at these two moments.

    Nothing that goes wrong here ends the run: it stands in `problems`, each kind once, with None in the
    readings or a reading left out. `server_hidden` as for `Host`.
    """

    def __init__(
        self,
        server_pids: Pids,
        client_pids: Pids,
        interval_s: float = 0.2,
        *,
        server_hidden: bool = False,
    ) -> None:
        self.host: list[HostReading] = []
        self.gpu: list[GpuReading] = []
        self.gpus: tuple[GpuEnvironment, ...] = ()
        """The GPUs there were at the start; empty where there are none."""
        self.no_gpu: str | None = None
        """Why there are none, in words."""
        self._interval_s = interval_s
        self._host = Host(server_pids, client_pids, server_hidden=server_hidden)
        self._gpus = Gpus()
        self._problems: dict[str, None] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._cpu_s = 0.0
        self._began_ns = 0
        self._ended_ns: int | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be observed, one sentence each."""
        return (*self._problems, *self._gpus.problems)

    @property
    def cpu_cores(self) -> float:
        """What the sampling itself costs: CPU seconds a second, so 0.01 is a hundredth of a core."""
        ended_ns = self._ended_ns or time.monotonic_ns()
        return self._cpu_s / max((ended_ns - self._began_ns) / 1e9, 1e-9)

    def __enter__(self) -> Sampler:
        self._gpus.__enter__()
        self.gpus, self.no_gpu = self._gpus.devices, self._gpus.unavailable
        self._began_ns = time.monotonic_ns()
        self._read()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._read()
        self._ended_ns = time.monotonic_ns()
        self._gpus.__exit__()

    def _run(self) -> None:
        due = time.monotonic() + self._interval_s
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._read()
            # a reading that took longer than the interval is not made up for
            due = max(due + self._interval_s, time.monotonic())

    def _read(self) -> None:
        began = time.thread_time()
        self._try("the host", lambda: self.host.append(self._host.read()))
        self._try("the GPUs", lambda: self.gpu.extend(self._gpus.read(self._host.server, self._host.others)))
        self._cpu_s += time.thread_time() - began

    def _try(self, what: str, read: Callable[[], None]) -> None:
        try:
            read()
        except Exception as error:  # whatever it is, the measurement goes on without this reading
            self._problems[f"{what} could not be read: {type(error).__name__}: {error}"] = None
