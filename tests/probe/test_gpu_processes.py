"""Which processes on a GPU count as foreign, with real process ids and some that nobody has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Set
from contextlib import suppress
from dataclasses import replace

import pytest

from harness.probe.watch.foreign_processes import foreign, judged, process_info
from harness.schema.samples import GpuProcess, GpuReading

UNKNOWN = (2**22 + 1, 2**22 + 2, 2**22 + 3)
"""Above the largest process id that Linux gives."""


@pytest.fixture
def other() -> Iterator[int]:
    """A process that isn't this one's child, but its child's."""
    code = "import subprocess; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        yield pid
        with suppress(ProcessLookupError):
            os.kill(pid, 9)


def found(pids: list[int], server: Set[int], others: Set[int]) -> tuple[str, ...] | None:
    """What is foreign of these, as /proc knows them now."""
    known = {pid: process for pid in pids if (process := process_info(pid)) is not None}
    return foreign([GpuProcess(pid, None, None) for pid in pids], known, server, others)


def test_ids_of_the_server_of_harness_and_of_their_descendants_are_not_foreign(other: int) -> None:
    assert found([os.getpid()], {os.getpid()}, set()) == ()
    assert found([1], {os.getpid()}, {1}) == ()
    assert found([other], {os.getpid()}, set()) == (), "a child that was found before the next scan"


def test_other_ids_are_named(other: int) -> None:
    assert found([other], {1 << 30}, set()) == (f"sleep ({other})",)
    assert found([other, os.getpid(), other], {os.getpid() + 10**6, os.getpid()}, set()) == (), "ours"


def test_unknown_ids_may_be_the_servers_own_where_none_of_its_are_listed_and_they_are_as_few() -> None:
    server = {os.getpid(), os.getppid()}
    assert found([*UNKNOWN[:2]], server, set()) == ()
    assert found([*UNKNOWN], server, set()) == tuple(f"unknown ({pid})" for pid in UNKNOWN)
    assert found([os.getpid(), UNKNOWN[0]], server, set()) == (f"unknown ({UNKNOWN[0]})",)


def test_where_the_server_cannot_be_seen_nothing_is_told() -> None:
    assert found([*UNKNOWN], set(), {1}) is None
    assert found([], set(), set()) is None


def test_what_was_noted_of_a_process_holds_when_it_is_gone(other: int) -> None:
    noted = process_info(other)
    assert noted is not None and noted.name == "sleep"
    assert os.getpid() in noted.ancestors
    os.kill(other, 9)
    listed = [GpuProcess(other, None, None)]
    assert foreign(listed, {other: noted}, {os.getpid()}, set()) == ()
    assert foreign(listed, {other: noted}, {1 << 30}, set()) == (f"sleep ({other})",)


def test_only_readings_that_list_processes_are_judged() -> None:
    def reading(processes: tuple[GpuProcess, ...] | None) -> GpuReading:
        blank = GpuReading(0, 0, None, None, None, None, None, None, None, None)
        return replace(blank, processes=processes)

    readings = [reading(None), reading(()), reading((GpuProcess(UNKNOWN[0], None, 5),))]
    got = judged(readings, {}, {os.getpid(), 1}, set())
    assert [r.foreign_processes for r in got] == [None, (), ()]
    assert [r.processes for r in got] == [r.processes for r in readings]
    got = judged(readings, {}, set(), set())
    assert [r.foreign_processes for r in got] == [None, None, None]


def test_harness_itself_is_neither_foreign_nor_the_servers() -> None:
    blank = GpuReading(0, 0, None, None, None, None, None, None, None, None)
    own, servers = GpuProcess(os.getpid(), "python", 7), GpuProcess(1, "init", 5)
    (got,) = judged([replace(blank, processes=(own, servers))], {}, {1}, {os.getpid()})
    assert got.processes == (servers,)
    assert got.foreign_processes == ()
