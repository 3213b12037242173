"""`python -m harness.probe.reader.reader`: reads the GPUs at a fixed pace in a process of its own.

It reads until its stdin ends. So it takes no time from the process that drives the load, and what it has read
is kept whatever becomes of either. It writes the lines of `spool` to stdout, which is
a file: a line is written at once, and nobody needs to read along. It runs at a lower priority than what is
measured: on a full machine a reading is a little late, which its time says, instead of in the server's way.
"""

from __future__ import annotations

import argparse
import os
import platform
import select
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

from harness.clock import boot_id
from harness.probe.environment import host_cores
from harness.probe.gpus import Gpus, unsupported
from harness.probe.host import SCAN_INTERVAL_S, Host
from harness.probe.reader.spool import (
    PROTOCOL,
    Cost,
    End,
    Hello,
    KnownProcesses,
    Learnt,
    Line,
    Unsupported,
    encoded,
)
from harness.probe.watch.foreign_processes import process_info
from harness.schema.samples import GpuReading
from harness.version import version

INTERVAL_S = 0.05
HOST_INTERVAL_S = 0.2
NICE = 10
OPEN_S = 30
"""The driver takes its time to wake GPUs that nobody holds awake (persistence mode)."""
HUNG_S = 10
"""A reader that hangs in the driver for this time is ended by the kernel, even where harness is gone."""
LAST_S = 1.0
"""How long the end is put off for a last value of the energy counters, where the driver doesn't answer at
once: a window needs one on both sides."""
SERVER = "tritonserver"


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--interval-s", type=float, default=INTERVAL_S)
    options.add_argument("--host", action="store_true", help="also read the host and the server's processes")
    options.add_argument(
        "--pid", type=int, action="append", help="a process of the server; by default it is found by its name"
    )
    given = options.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for harness, which then closes our stdin
    with suppress(OSError):
        os.nice(NICE)
    server_pids = (lambda: given.pid) if given.pid else Named(SERVER).pids
    signal.alarm(OPEN_S)
    with Gpus() as gpus:
        reader = Reader(gpus, Host(server_pids, list) if given.host else None)
        reader.write(hello(gpus))
        if gpus.unavailable is None or given.host:
            reader.run(given.interval_s)
        reader.learn()
        reader.write_all()
    reader.write_all([End()])


def hello(gpus: Gpus) -> Hello:
    """The machine and its GPUs."""
    host = platform.node() or "unknown"
    return Hello(
        gpus.devices,
        gpus.unavailable,
        host,
        boot_id(),
        host_cores(),
        gpus.sources,
        harness=version(),
        protocol=PROTOCOL,
    )


class Named:
    """The processes of a name, looked for no more often than new children are."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._found: list[int] = []
        self._due = 0.0

    def pids(self) -> list[int]:
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + SCAN_INTERVAL_S
            self._found = [p.pid for p in psutil.process_iter(["name"]) if p.info["name"] == self._name]
        return self._found


class Reader:
    """Reads at the times that are due, and writes down what it has read."""

    def __init__(self, gpus: Gpus, host: Host | None, out: int = 1) -> None:
        self._gpus, self._host, self._out = gpus, host, out
        self._pending = b""
        self._listed: set[int] = set()
        self._known = KnownProcesses((), ())
        self._learnt = Learnt((), ())
        self._began = 0.0
        self._cpu_s = 0.0
        self._read_ns = 0
        self._counted_ns: dict[int, int] = {}
        """When each GPU's energy counter was last read."""

    def write(self, line: Line) -> None:
        """The line waits, to be written with what follows."""
        self._pending += encoded(line)

    def write_all(self, lines: Iterable[Line] = ()) -> None:
        for line in lines:
            self.write(line)
        rest, self._pending = self._pending, b""
        while rest:
            rest = rest[os.write(self._out, rest) :]

    def run(self, interval_s: float) -> None:
        """Read until stdin ends, which it also does when harness dies, with last readings after that."""
        self._began, self._cpu_s = time.monotonic(), time.process_time()
        gpus = Due(interval_s if self._gpus.unavailable is None else None)
        host = Due(HOST_INTERVAL_S if self._host is not None else None)
        slow = Due(1.0)
        ended_ns: int | None = None
        while ended_ns is None or not self._covers(ended_ns):
            signal.alarm(HUNG_S)
            if gpus.now():
                self._read_gpus(everything=ended_ns is not None)
            if host.now():
                self._read_host()
            if slow.now():
                self._sum_up()
            self.write_all()
            signal.alarm(0)
            wait_s = max(0.0, min(gpus.at, host.at, slow.at) - time.monotonic())
            if ended_ns is not None:
                time.sleep(min(wait_s, interval_s))
            elif select.select([sys.stdin], [], [], wait_s)[0]:
                ended_ns = time.monotonic_ns()
        if self._host is not None:
            self._read_host()
        self._sum_up()
        self.write_all()

    def _covers(self, at_ns: int) -> bool:
        """Whether every energy counter was read since, or waiting longer is of no use."""
        if self._gpus.unavailable is not None or time.monotonic_ns() > at_ns + LAST_S * 1e9:
            return True
        return self._read_ns >= at_ns and all(counted >= at_ns for counted in self._counted_ns.values())

    def _read_gpus(self, *, everything: bool) -> None:
        readings = self._gpus.read(everything=everything)
        self._describe_processes(readings)
        for reading in readings:
            self.write(reading)
            self._read_ns = reading.at_ns
            if reading.energy_j is not None:
                self._counted_ns[reading.device] = reading.at_ns

    def _describe_processes(self, readings: tuple[GpuReading, ...]) -> None:
        """Describe each process once, when it is first listed."""
        lists = [reading.processes for reading in readings if reading.processes is not None]
        if not lists:
            return
        listed = {process.pid for processes in lists for process in processes}
        found = {pid for pid in listed - self._listed if self._described(pid)}
        self._listed = (self._listed & listed) | found

    def _described(self, pid: int) -> bool:
        process = process_info(pid)
        if process is not None:
            self.write(process)
        return process is not None

    def _read_host(self) -> None:
        assert self._host is not None
        self.write(self._host.read())
        # our parent is what serves the readings
        others = self._host.others | {os.getppid()}
        known = KnownProcesses(tuple(sorted(self._host.server)), tuple(sorted(others)))
        if known != self._known:
            self._known = known
            self.write(known)

    def _sum_up(self) -> None:
        self.write(Cost(time.process_time() - self._cpu_s, time.monotonic() - self._began))
        self.learn()

    def learn(self) -> None:
        """What can't be read and what went wrong so far, also where nothing could be read."""
        learnt = Learnt(
            tuple(self._gpus.problems),
            tuple(
                Unsupported(device, instance, reasons)
                for (device, instance), reasons in unsupported(self._gpus.devices).items()
            ),
        )
        if learnt != self._learnt:
            self._learnt = learnt
            self.write(learnt)


class Due:
    """A pace in absolute times: a time that was missed isn't made up for. None is never due."""

    def __init__(self, interval_s: float | None) -> None:
        self._interval_s = interval_s
        self._began = self.at = time.monotonic() if interval_s is not None else float("inf")

    def now(self) -> bool:
        now = time.monotonic()
        if self._interval_s is None or now < self.at:
            return False
        self.at = self._began + ((now - self._began) // self._interval_s + 1) * self._interval_s
        return True


if __name__ == "__main__":
    main()
