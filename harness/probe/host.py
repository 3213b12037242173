"""CPU time and memory of the server's and the load generator's processes, of harness, and of the whole host.

Source: proc(5), mostly by psutil. Linux counts CPU time in ticks of 10 ms, so a difference over less than
about a second is coarse.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Set
from pathlib import Path

import psutil

from harness.probe import cgroup
from harness.schema.samples import HostReading

Pids = Callable[[], Iterable[int]]
"""The processes whose trees are to be observed: they may come and go."""

SCAN_INTERVAL_S = 1.0
"""How often new children, and the server's processes, are looked for, which walks all processes of the host;
what they used since their start counts all the same. They are looked for at once where one of the server's
ended. The load's processes are asked for on each reading."""

MEMORY_INTERVAL_S = 1.0
MEMORY_SHARE = 0.02
"""Reading the proportional set size walks every page of a process: no more than this share of the time."""


class Host:
    """The server's process trees, the load generator's, harness's own, and the machine they run on.

    Harness's own is this process and whatever descends from it without being of the other two.
    `server_hidden`: the server runs on this machine, and its processes can't be distinguished from others.
    What processes used in all is then left out, because the server's part of it is unknown.
    """

    def __init__(self, server_pids: Pids, client_pids: Pids, *, server_hidden: bool = False) -> None:
        self._server_pids, self._client_pids = server_pids, client_pids
        self._server_hidden = server_hidden
        self._server, self._client, self._harness = ProcessTrees(), ProcessTrees(), ProcessTrees()
        self._throttling = cgroup.Throttling()
        self._scan_due_ns = 0

    @property
    def server(self) -> set[int]:
        """Ids of the server's processes, as of the last reading; empty where it isn't on this host."""
        return self._server.pids

    @property
    def others(self) -> set[int]:
        """Ids of the load generator's and harness's own processes, as of the last reading."""
        return self._client.pids | self._harness.pids

    def read(self) -> HostReading:
        """One reading. Raises what the given callables raise, and OSError where there is no /proc."""
        client = set(self._client_pids())
        at_ns = time.monotonic_ns()
        if at_ns >= self._scan_due_ns or not self._client.follows(client):
            parents = _parents()
            self._server.follow(set(self._server_pids()), parents)
            self._client.follow(client, parents)
            self._harness.leave(self._server.pids | self._client.pids)
            self._harness.follow({os.getpid()}, parents, without=self._server.pids | self._client.pids)
            self._scan_due_ns = at_ns + int(SCAN_INTERVAL_S * 1e9)
        server = self._server.pids
        server_s, client_s, harness_s = self._server.cpu_s(), self._client.cpu_s(), self._harness.cpu_s()
        if self._server.pids != server:  # one ended, and what follows it may be here by the next reading
            self._scan_due_ns = at_ns
        machine = psutil.cpu_times()
        # guest time is in user time already
        processes_s = float(machine.user + machine.nice + machine.system)
        return HostReading(
            at_ns=at_ns,
            server_cpu_s=server_s,
            client_cpu_s=client_s,
            # what a hypervisor stole is not this machine's work
            host_cpu_s=processes_s + float(machine.irq + machine.softirq),
            server_memory_bytes=self._server.memory_bytes(),
            client_memory_bytes=self._client.memory_bytes(),
            harness_cpu_s=harness_s,
            host_process_cpu_s=None if self._server_hidden else processes_s,
            stolen_cpu_s=float(machine.steal),
            throttled_cpu_s=self._throttling.cpu_s(),
        )


class ProcessTrees:
    """Some processes and their descendants as one total, which keeps what each had used when it ended."""

    def __init__(self) -> None:
        self._live: dict[int, _Process] = {}
        self._ended_s = self._total_s = 0.0
        self._followed_at: float | None = None
        self._any_seen = False
        self._memory: int | None = None
        self._memory_due_ns = 0

    @property
    def pids(self) -> set[int]:
        """The processes that were alive when last looked at."""
        return set(self._live)

    def follows(self, roots: set[int]) -> bool:
        return roots <= self._live.keys()

    def leave(self, others: set[int]) -> None:
        """Follow these no more, because they belong elsewhere; what they have used so far stays counted."""
        for pid in others & self._live.keys():
            self._ended_s += self._live.pop(pid).cpu_s

    def follow(self, roots: set[int], parents: dict[int, int], *, without: Set[int] = frozenset()) -> None:
        """Take in the roots and all their descendants but for those `without`. A process stays in until it
        ends, or is left.

        One that ran already before the previous call counts from now on: what it used before is not this
        interval's. The first call has no such interval, and takes each as it is.
        """
        now = time.time()
        for pid in _descendants(roots | self._live.keys(), parents) - without:
            if pid in self._live:
                continue
            try:
                process = _Process(pid)
            except psutil.Error:
                continue  # it ended meanwhile
            if self._followed_at is not None and process.began < self._followed_at - SCAN_INTERVAL_S:
                process.forget_past()
            self._live[pid] = process
            self._any_seen = True
        self._followed_at = now

    def cpu_s(self) -> float | None:
        """CPU seconds of all processes seen so far; None before the first. Never falls.

        What a process uses between its last reading and its end is lost, and so is a child whose whole
        life lies between two scans.
        """
        for pid, process in list(self._live.items()):
            if not process.update():
                self._ended_s += process.cpu_s
                del self._live[pid]
        if not self._any_seen:
            return None
        # The same terms in another order may be a last bit less, and a total that falls would be taken for a
        # restart: it was, and whoever used the machine meanwhile then went unnoticed.
        self._total_s = max(
            self._total_s, self._ended_s + sum(process.cpu_s for process in self._live.values())
        )
        return self._total_s

    def memory_bytes(self) -> int | None:
        """Memory now, or as it was at the last look, some `MEMORY_INTERVAL_S` ago; None with none alive."""
        began = time.monotonic_ns()
        if not self._live:
            self._memory, self._memory_due_ns = None, 0
        elif began >= self._memory_due_ns:
            sizes = [process.memory_bytes() for process in self._live.values()]
            known = [size for size in sizes if size is not None]
            self._memory = sum(known) if known else None
            ended = time.monotonic_ns()
            self._memory_due_ns = ended + int(max(MEMORY_INTERVAL_S * 1e9, (ended - began) / MEMORY_SHARE))
        return self._memory


class _Process:
    """One process. The time it began distinguishes it from a later one with the same pid."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.began = self._process.create_time()
        self.cpu_s = 0.0
        self._past_s = 0.0
        if not self.update():
            raise psutil.NoSuchProcess(pid)

    def forget_past(self) -> None:
        self._past_s += self.cpu_s
        self.cpu_s = 0.0

    def update(self) -> bool:
        """Read the CPU time into `cpu_s`. False, and the old value stays, if the process has ended."""
        try:
            times = self._process.cpu_times()
            # asked afterwards: if it is still the same process now, the times were its own
            if not self._process.is_running():
                return False
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True
        self.cpu_s = times.user + times.system - self._past_s
        return True

    def memory_bytes(self) -> int | None:
        """Proportional set size, or the resident one where the kernel doesn't tell; None for a zombie."""
        try:
            for line in Path(f"/proc/{self._process.pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
        except (OSError, ValueError):
            pass
        try:
            return self._process.memory_info().rss or None
        except psutil.Error:
            return None


def _parents() -> dict[int, int]:
    """Parent of every process on the host, by pid."""
    parents = {}
    for pid in psutil.pids():
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        # the name stands in parentheses and may hold anything, parentheses and spaces among it
        parents[pid] = int(stat[stat.rindex(b")") + 1 :].split()[1])
    return parents


def _descendants(roots: set[int], parents: dict[int, int]) -> set[int]:
    """`roots` that live, and every process that descends from one of them."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [pid for pid in roots if pid in parents]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return found
