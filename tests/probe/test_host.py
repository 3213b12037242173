"""Host readings of real processes: busy, idle, forking, dying, growing, and with a pid that comes again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.probe import host
from harness.probe.host import Host, ProcessTrees, _parents

BURN = """
import sys, time
def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
"""
"""CPU time, not wall time: the same on a busy machine."""

TICK_S = 0.011
"""The kernel counts CPU time in ticks of 10 ms."""

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a Python process that prints when it is done with a step and goes on at a line on its stdin."""
    started: list[subprocess.Popen[str]] = []

    def begin(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", BURN + code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("on\n")
    process.stdin.flush()


def total(trees: ProcessTrees, *pids: int) -> float:
    trees.follow(set(pids), _parents())
    cpu_s = trees.cpu_s()
    assert cpu_s is not None
    return cpu_s


def test_server_and_client_are_counted_apart_and_the_host_holds_both(start: Start) -> None:
    server = start("print('ready', flush=True); input(); burn(0.6); print('done', flush=True); input()")
    client = start("print('ready', flush=True); input(); burn(0.2); print('done', flush=True); input()")
    assert heard(server) == heard(client) == "ready"
    observed = Host(lambda: [server.pid], lambda: [client.pid])
    before = observed.read()
    say(server)
    say(client)
    assert heard(server) == heard(client) == "done"
    after = observed.read()
    assert before.at_ns < after.at_ns
    assert None not in (before.server_cpu_s, before.client_cpu_s)
    server_s = after.server_cpu_s - before.server_cpu_s  # type: ignore[operator]
    client_s = after.client_cpu_s - before.client_cpu_s  # type: ignore[operator]
    assert server_s == pytest.approx(0.6, abs=4 * TICK_S)
    assert client_s == pytest.approx(0.2, abs=4 * TICK_S)
    assert after.host_cpu_s - before.host_cpu_s >= 0.8 - 8 * TICK_S
    assert after.server_memory_bytes is not None and after.server_memory_bytes > 1_000_000


def test_harness_is_what_descends_from_this_process_and_is_neither_server_nor_client(start: Start) -> None:
    """All three are children of this process here, as they are of harness."""
    busy = "print('ready', flush=True); input(); burn(0.4); print('done', flush=True); input()"
    server, other = start(busy), start(busy)
    assert heard(server) == heard(other) == "ready"
    clients: list[int] = []
    observed = Host(lambda: [server.pid], lambda: clients)
    before = observed.read()
    assert other.pid in observed.others and server.pid not in observed.others
    for process in (server, other):
        say(process)
        assert heard(process) == "done"
    after = observed.read()
    assert None not in (before.harness_cpu_s, before.server_cpu_s)
    ours_s = after.harness_cpu_s - before.harness_cpu_s  # type: ignore[operator]
    assert 0.4 - 2 * TICK_S <= ours_s < 0.75, "the other child and this process, without the server"
    assert after.server_cpu_s - before.server_cpu_s == pytest.approx(0.4, abs=2 * TICK_S)  # type: ignore[operator]
    clients.append(other.pid)
    claimed = observed.read()
    assert claimed.harness_cpu_s is not None and after.harness_cpu_s is not None
    assert claimed.harness_cpu_s >= after.harness_cpu_s - TICK_S, "what it used as harness's stays harness's"
    assert observed.server == {server.pid} and other.pid in observed.others


def test_what_processes_used_holds_the_observed_ones_and_is_left_out_beside_a_hidden_server(
    start: Start,
) -> None:
    process = start("print('ready', flush=True); input(); burn(0.5); print('done', flush=True); input()")
    assert heard(process) == "ready"
    observed = Host(lambda: [process.pid], list)
    before = observed.read()
    say(process)
    assert heard(process) == "done"
    after = observed.read()
    used_s = after.host_process_cpu_s - before.host_process_cpu_s  # type: ignore[operator]
    assert used_s >= 0.5 - 4 * TICK_S
    assert after.host_cpu_s - before.host_cpu_s >= used_s - TICK_S
    assert after.stolen_cpu_s is not None and after.stolen_cpu_s >= 0
    hidden = Host(list, list, server_hidden=True).read()
    assert hidden.host_process_cpu_s is None and hidden.host_cpu_s > 0


def test_children_and_grandchildren_count(start: Start) -> None:
    parent = start(
        """
import os
if os.fork() == 0:
    if os.fork() == 0:
        burn(0.4)
        print("done", flush=True)
    else:
        burn(0.3)
        print("done", flush=True)
        os.wait()
    time.sleep(60)
time.sleep(60)
"""
    )
    assert heard(parent) == heard(parent) == "done"
    assert total(ProcessTrees(), parent.pid) == pytest.approx(0.7 + psutil_cpu_s(parent.pid), abs=10 * TICK_S)


def test_a_child_that_ends_keeps_its_last_total_so_that_totals_never_fall(start: Start) -> None:
    parent = start(
        """
import os
child = os.fork()
if child == 0:
    burn(0.5)
    print("burnt", flush=True)
    time.sleep(60)
input()
os.kill(child, 9)
os.wait()
print("reaped", flush=True)
burn(0.2)
print("done", flush=True)
input()
"""
    )
    assert heard(parent) == "burnt"
    trees = ProcessTrees()
    with_child = total(trees, parent.pid)
    # the kernel cuts both user's and system's time to whole ticks, of each process
    assert with_child >= 0.5 - 4 * TICK_S
    say(parent)
    assert heard(parent) == "reaped"
    after_death = total(trees, parent.pid)
    assert after_death >= with_child
    assert heard(parent) == "done"
    assert total(trees, parent.pid) == pytest.approx(with_child + 0.2, abs=4 * TICK_S)


def test_a_killed_server_keeps_its_total_and_its_successor_adds_to_it(start: Start) -> None:
    first = start("burn(0.3); print('done', flush=True); input()")
    assert heard(first) == "done"
    pids = [first.pid]
    observed = Host(lambda: pids, list)
    alive = observed.read()
    first.kill()
    first.wait()
    dead = observed.read()
    assert dead.server_cpu_s is not None
    assert dead.server_cpu_s == alive.server_cpu_s
    assert alive.server_memory_bytes is not None
    assert dead.server_memory_bytes is None
    second = start("burn(0.2); print('done', flush=True); input()")
    pids[:] = [second.pid]
    assert heard(second) == "done"
    again = observed.read()
    assert again.server_cpu_s == pytest.approx(dead.server_cpu_s + psutil_cpu_s(second.pid), abs=2 * TICK_S)
    assert again.client_cpu_s is None


def test_the_servers_processes_are_looked_for_once_a_scan_and_when_one_ended(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finding them walks every process of the host: at every reading it would cost more than the load."""
    monkeypatch.setattr(host, "SCAN_INTERVAL_S", 1000)
    process = start("print('up', flush=True); input()")
    assert heard(process) == "up"
    asked = 0

    def pids() -> list[int]:
        nonlocal asked
        asked += 1
        return [process.pid]

    observed = Host(pids, list)
    for _ in range(10):
        observed.read()
    assert asked == 1
    process.kill()
    process.wait()
    observed.read()
    observed.read()
    assert asked == 2


def test_a_process_handed_over_late_brings_none_of_its_past(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "SCAN_INTERVAL_S", 0.05)
    old = start(
        "burn(0.5); print('ready', flush=True); input(); burn(0.2); print('done', flush=True); input()"
    )
    assert heard(old) == "ready"
    trees = ProcessTrees()
    trees.follow(set(), _parents())
    assert trees.cpu_s() is None
    assert total(trees, old.pid) == pytest.approx(0, abs=TICK_S)
    say(old)
    assert heard(old) == "done"
    assert total(trees, old.pid) == pytest.approx(0.2, abs=3 * TICK_S)


def test_new_children_are_found_within_the_scan_interval(start: Start) -> None:
    parent = start(
        "import os\ninput()\nif os.fork() == 0: burn(0.3); print('done', flush=True)\ntime.sleep(60)"
    )
    observed = Host(list, lambda: [parent.pid])
    before = observed.read().client_cpu_s
    say(parent)
    assert heard(parent) == "done"
    time.sleep(host.SCAN_INTERVAL_S)
    after = observed.read().client_cpu_s
    assert before is not None and after is not None
    assert after - before >= 0.3 - 4 * TICK_S


def test_a_pid_that_comes_again_is_another_process(start: Start) -> None:
    first = start("burn(0.5); print('done', flush=True); input()")
    assert heard(first) == "done"
    trees = ProcessTrees()
    before = total(trees, first.pid)
    first.kill()
    first.wait()
    impostor = _process_with_pid(first.pid, start)
    if impostor is None:
        pytest.skip("the kernel lets only root choose the next pid (ns_last_pid), or others were faster")
    assert heard(impostor) == "done"
    # not handed over again: the pid is the same, the process isn't
    assert trees.cpu_s() == before
    assert not trees.follows({first.pid})
    after = total(trees, first.pid)
    assert after == pytest.approx(before + psutil_cpu_s(impostor.pid), abs=2 * TICK_S)


def test_memory_growth_is_seen_at_the_next_look_and_carried_until_then(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(
        "print('ready', flush=True); input(); held = b'x' * 60_000_000; print('grown', flush=True); input()"
    )
    assert heard(process) == "ready"
    monkeypatch.setattr(host, "MEMORY_INTERVAL_S", 3600.0)
    trees = ProcessTrees()
    trees.follow({process.pid}, _parents())
    small = trees.memory_bytes()
    say(process)
    assert heard(process) == "grown"
    assert small is not None
    assert trees.memory_bytes() == small
    trees._memory_due_ns = 0  # an hour later
    grown = trees.memory_bytes()
    assert grown is not None
    assert grown - small == pytest.approx(60_000_000, rel=0.05)


def test_pages_that_processes_share_count_once(start: Start) -> None:
    parent = start(
        """
import os
held = b"x" * 60_000_000
for _ in range(3):
    if os.fork() == 0:
        time.sleep(60)
print("ready", flush=True)
time.sleep(60)
"""
    )
    assert heard(parent) == "ready"
    trees = ProcessTrees()
    trees.follow({parent.pid}, _parents())
    pss = trees.memory_bytes()
    family = [psutil.Process(parent.pid), *psutil.Process(parent.pid).children()]
    assert len(family) == 4
    assert pss is not None
    assert 60_000_000 < pss < 120_000_000
    assert sum(p.memory_info().rss for p in family) > 4 * 60_000_000


def test_where_the_proportional_size_cannot_be_read_the_resident_one_stands_in(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start("print('ready', flush=True); input()")
    assert heard(process) == "ready"
    read_text = Path.read_text

    def refused(path: Path) -> str:
        if path.name == "smaps_rollup":  # as the kernel does for another user's process
            raise PermissionError(path)
        return read_text(path)

    monkeypatch.setattr(Path, "read_text", refused)
    trees = ProcessTrees()
    trees.follow({process.pid}, _parents())
    assert trees.memory_bytes() == psutil.Process(process.pid).memory_info().rss


def test_no_process_is_no_value_and_not_zero() -> None:
    reading = Host(list, lambda: [2**22 + 1]).read()
    assert (reading.server_cpu_s, reading.client_cpu_s) == (None, None)
    assert (reading.server_memory_bytes, reading.client_memory_bytes) == (None, None)
    assert reading.host_cpu_s > 0


def psutil_cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _process_with_pid(pid: int, start: Start) -> subprocess.Popen[str] | None:
    for _ in range(20):
        try:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        except OSError:
            return None
        process = start("burn(0.2); print('done', flush=True); input()")
        if process.pid == pid:
            return process
        process.kill()
    return None


class Used:
    """A process that has used so many ticks of 10 ms, for a ProcessTrees to follow."""

    def __init__(self, ticks: int) -> None:
        self.cpu_s = ticks / 100
        self.lives = True

    def update(self) -> bool:
        return self.lives


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=8), st.randoms())
def test_a_total_never_falls_by_rounding_when_one_of_several_ends(ticks: list[int], random: Random) -> None:
    """0.1 + 0.2 + 0.3 is more than 0.3 + 0.1 + 0.2; a falling total has no growth, and hides who is busy."""
    trees = ProcessTrees()
    processes = {pid: Used(used) for pid, used in enumerate(ticks)}
    trees._live, trees._any_seen = dict(processes), True  # type: ignore[assignment]
    totals = [trees.cpu_s()]
    for process in random.sample(list(processes.values()), len(processes)):
        process.lives = False
        totals.append(trees.cpu_s())
    known = [total for total in totals if total is not None]
    assert len(known) == len(ticks) + 1 and known == sorted(known)
