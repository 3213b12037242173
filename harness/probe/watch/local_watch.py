"""The GPUs of this machine, read by a process of its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Set
from pathlib import Path

from harness.probe.gpus import missing
from harness.probe.reader.reader import INTERVAL_S
from harness.probe.reader.reader_process import ReaderProcess
from harness.probe.reader.spool import Spool
from harness.probe.thinning import FIRST_OF_A_GPU
from harness.probe.watch.foreign_processes import judged
from harness.probe.watch.watch import Nothing, Seen, Watch, looked
from harness.schema.result import GpuProbe

IDLE_S = 1.5
"""After this time without work a GPU's idle power can be read; its utilization looks back for up to 1 s."""
RESTLESS_S = 4.0
"""A GPU that still works after this time does so for somebody else."""
NOTICED_S = 0.5
"""Readings that end more than this before the stop ended early."""
_LOOK_S = 0.05


def local_watch(spool: Path | None = None, interval_s: float = INTERVAL_S) -> Watch:
    """A watch over this machine's GPUs. Its lines go to `spool`, by default to a file that isn't kept.

    Where no vendor's driver is installed no process is started. This process never opens a driver.
    """
    why = missing()
    return LocalWatch(spool, interval_s) if why is None else Nothing(why)


class LocalWatch:
    """A `Watch` over the GPUs that a reader process sees here."""

    def __init__(self, spool: Path | None, interval_s: float) -> None:
        self._interval_s = interval_s
        self._scratch = None if spool is not None else tempfile.TemporaryDirectory(prefix="harness-gpu-")
        self._path = spool or Path(self._scratch.name) / "gpu.jsonl"  # type: ignore[union-attr]
        self._reader: ReaderProcess | None = None
        self._first = Spool()
        self._failure: str | None = None
        self._stopped_ns = 0

    def start(self) -> None:
        self._reader = ReaderProcess(self._path, ["--interval-s", str(self._interval_s)])
        self._first = self._reader.wait_for_hello()

    def rest(self) -> bool:
        if not self._first.devices():
            return False
        wait_for_rest(self._path)
        return True

    def stop(self) -> None:
        if self._reader is not None:
            self._stopped_ns = time.monotonic_ns()
            self._failure = self._reader.end()

    def seen(self, server: Set[int], others: Set[int]) -> Seen:
        spool = Spool.read(self._path)
        if self._scratch is not None:
            self._scratch.cleanup()
        if spool.hello is None:
            why = self._failure or "the GPU probe said nothing"
            return Seen(no_gpu=why, problems=(why,))
        problems, readings = list(spool.problems), spool.gpu
        if self._failure is not None:
            last_ns = readings[-1].at_ns if readings else None
            problems.append(cut_off(self._failure, last_ns, self._stopped_ns))
        return Seen(
            gpus=spool.devices(),
            no_gpu=spool.hello.unavailable,
            gpu=judged(readings, spool.process_info, server, others),
            probe=probe_of(spool, ", ".join(spool.hello.sources or ()), self._interval_s),
            problems=tuple(problems),
        )


def wait_for_rest(path: Path) -> None:
    """Wait until the readings in the file end with IDLE_S in which no GPU worked, or RESTLESS_S are over."""
    give_up = time.monotonic() + RESTLESS_S
    while time.monotonic() < give_up:
        readings = Spool.read(path).gpu
        at_ns = [r.at_ns for r in readings[:1] + [r for r in readings if r.utilization]]
        if readings and readings[-1].at_ns - at_ns[-1] >= IDLE_S * 1e9:
            return
        time.sleep(_LOOK_S)


def probe_of(spool: Spool, source: str, interval_s: float) -> GpuProbe | None:
    """What the reading was and cost; None where there were no readings."""
    if not spool.of_gpus:
        return None
    cost = spool.cost
    first = [reading for each in spool.of_gpus.values() for reading in each.kept[:FIRST_OF_A_GPU]]
    return GpuProbe(
        source=source,
        readings=sum(each.taken for each in spool.of_gpus.values()),
        interval_s=looked(first, interval_s),
        cpu_cores=cost.cpu_s / cost.over_s if cost is not None and cost.over_s > 0 else None,
    )


def cut_off(failure: str, last_ns: int | None, stopped_ns: int) -> str:
    """The failure as a sentence that also says which readings are missing because of it."""
    if last_ns is None:
        return f"{failure}: there are no readings"
    early_s = (stopped_ns - last_ns) / 1e9
    return failure if early_s < NOTICED_S else f"{failure}: its readings end {early_s:.1f} s before the point"
