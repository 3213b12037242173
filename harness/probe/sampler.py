"""Reads host and GPUs at a fixed pace in the background while something else is measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from harness.probe.host import Host, Pids
from harness.probe.thinning import MOST, Thinning, of_hosts
from harness.probe.watch.local_watch import local_watch
from harness.probe.watch.two_machines import with_server
from harness.probe.watch.watch import Watch
from harness.schema.result import GpuEnvironment, GpuProbe
from harness.schema.samples import GpuReading, HostReading


class Sampler:
    """Collects readings between enter and exit, the first and last of them at these two moments.

    The host is read by a thread, the GPUs by `watch` (left out: those of this machine), whose readings are
    there after the exit. Nothing that goes wrong here ends the run: it stands in `problems`, each kind once,
    with None in the readings or a reading left out. `server_hidden` as for `Host`.
    """

    def __init__(
        self,
        server_pids: Pids,
        client_pids: Pids,
        interval_s: float = 0.2,
        *,
        server_hidden: bool = False,
        watch: Watch | None = None,
        most: int = MOST,
    ) -> None:
        self._readings = Thinning(of_hosts, most)
        self.host: list[HostReading] = self._readings.kept
        """`most` of them at most: of a long point they are further apart."""
        self.gpu: Sequence[GpuReading] = ()
        self.gpus: tuple[GpuEnvironment, ...] = ()
        """The GPUs there are; empty where there are none."""
        self.no_gpu: str | None = None
        """Why there are none, in words."""
        self.gpu_probe: GpuProbe | None = None
        self._interval_s = interval_s
        self._host = Host(server_pids, client_pids, server_hidden=server_hidden)
        self._server: set[int] = set()
        self._others: set[int] = set()
        self._watch = watch or local_watch()
        self._problems: dict[str, None] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._cpu_s = 0.0
        self._began_ns = 0
        self._ended_ns: int | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be observed, one sentence each."""
        return tuple(self._problems)

    @property
    def cpu_cores(self) -> float:
        """What reading the host costs: CPU seconds a second, so 0.01 is a hundredth of a core."""
        ended_ns = self._ended_ns or time.monotonic_ns()
        return self._cpu_s / max((ended_ns - self._began_ns) / 1e9, 1e-9)

    def idle(self) -> tuple[int, int] | None:
        """Wait, with no request in flight, until the GPUs' idle power is known. Returns the time since the
        enter, from and to, in nanoseconds of CLOCK_MONOTONIC.

        Returns None at once where there is no GPU, or it is read too rarely.
        """
        return (self._began_ns, time.monotonic_ns()) if self._watch.rest() else None

    def __enter__(self) -> Sampler:
        try:
            self._watch.start()
        except BaseException:  # Ctrl-C while the driver wakes its GPUs
            self._watch.stop()
            raise
        self._began_ns = time.monotonic_ns()
        self._read()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._read()
        self._ended_ns = time.monotonic_ns()
        self._watch.stop()
        seen = self._watch.seen(self._server, self._others)
        self.gpu, self.gpus, self.no_gpu, self.gpu_probe = seen.gpu, seen.gpus, seen.no_gpu, seen.probe
        self._problems |= dict.fromkeys(seen.problems)
        if seen.host:
            self.host = with_server(self.host, seen.host, same_host=seen.same_host)

    def _run(self) -> None:
        due = time.monotonic() + self._interval_s
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._read()
            # a reading that took longer than the interval is not made up for
            due = max(due + self._interval_s, time.monotonic())

    def _read(self) -> None:
        began = time.thread_time()
        self._try("the host", lambda: self._readings.add(self._host.read()))
        self._server |= self._host.server
        self._others |= self._host.others
        self._cpu_s += time.thread_time() - began

    def _try(self, what: str, read: Callable[[], None]) -> None:
        try:
            read()
        except Exception as error:  # whatever it is, the measurement goes on without this reading
            self._problems[f"{what} could not be read: {type(error).__name__}: {error}"] = None
