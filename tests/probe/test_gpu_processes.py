"""Which processes on a GPU count as foreign, with real process ids and some that nobody has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from harness.probe.gpu_processes import foreign
from tests.nvml import NvmlDouble
from tests.probe.test_gpu import observe

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
        os.kill(pid, 9)


def test_ids_of_the_server_of_harness_and_of_their_descendants_are_not_foreign(other: int) -> None:
    assert foreign([os.getpid()], {os.getpid()}, set()) == ()
    assert foreign([1], {os.getpid()}, {1}) == ()
    assert foreign([other], {os.getpid()}, set()) == (), "a child that was found before the next scan"


def test_other_ids_are_named(other: int) -> None:
    assert foreign([other], {1 << 30}, set()) == (f"sleep ({other})",)
    assert foreign([other, os.getpid(), other], {os.getpid() + 10**6, os.getpid()}, set()) == (), "ours"


def test_unknown_ids_may_be_the_servers_own_where_none_of_its_are_listed_and_they_are_as_few() -> None:
    server = {os.getpid(), os.getppid()}
    assert foreign(UNKNOWN[:2], server, set()) == ()
    assert foreign(UNKNOWN, server, set()) == tuple(f"unknown ({pid})" for pid in UNKNOWN)
    assert foreign([os.getpid(), UNKNOWN[0]], server, set()) == (f"unknown ({UNKNOWN[0]})",)


def test_where_the_server_cannot_be_seen_nothing_is_told() -> None:
    assert foreign(UNKNOWN, set(), {1}) is None
    assert foreign([], set(), set()) is None


def test_the_drivers_list_comes_through_pynvml(nvml_double: NvmlDouble, other: int) -> None:
    (reading,) = observe(nvml_double(f"processes={other}"))["rounds"][0]
    assert reading["foreign_processes"] == [f"sleep ({other})"]
    (reading,) = observe(nvml_double(f"processes={UNKNOWN[0]}"))["rounds"][0]
    assert reading["foreign_processes"] == []
    (reading,) = observe(nvml_double("missing=Processes"))["rounds"][0]
    assert reading["foreign_processes"] is None
