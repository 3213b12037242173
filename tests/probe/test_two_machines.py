"""Host readings of two machines as one series: the server's part from there, all else from here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.host import host_figures
from harness.probe.watch.two_machines import foreign_there, with_server
from harness.schema.samples import HostReading, Window

S = 1_000_000_000


def here(at_s: float, **values: float | None) -> HostReading:
    """One core of the load, a tenth of harness, half of something else."""
    known = {"client_cpu_s": at_s, "harness_cpu_s": 0.1 * at_s, "host_process_cpu_s": 1.6 * at_s} | values
    return HostReading(
        at_ns=int(at_s * S),
        server_cpu_s=None,
        host_cpu_s=1.7 * at_s,
        server_memory_bytes=None,
        client_memory_bytes=100,
        **known,
    )


def there(at_s: float, *, foreign: float = 0.2) -> HostReading:
    """Three cores of the server."""
    return HostReading(
        at_ns=int(at_s * S),
        server_cpu_s=3 * at_s,
        client_cpu_s=None,
        host_cpu_s=4 * at_s,
        server_memory_bytes=int(at_s * 1000),
        client_memory_bytes=None,
        harness_cpu_s=0.01 * at_s,
        host_process_cpu_s=(3.01 + foreign) * at_s,
    )


HERE = [here(t / 5) for t in range(1, 51)]
THERE = [there(0.05 + t / 5) for t in range(52)]
WINDOW = Window(1 * S, 9 * S)


def test_the_servers_part_is_of_there_and_what_others_use_is_of_here() -> None:
    figures = host_figures(with_server(HERE, THERE, same_host=False), WINDOW, requests=80, cores=4)
    assert figures.server_cpu_cores == pytest.approx(3)
    assert figures.client_cpu_cores == pytest.approx(1)
    assert figures.harness_cpu_cores == pytest.approx(0.1)
    assert figures.foreign_cpu_cores == pytest.approx(0.5)
    assert figures.host_busy_cores == pytest.approx(1.7)
    assert figures.client_memory_bytes == 100
    assert figures.server_memory_bytes == pytest.approx(9000, abs=210)


def test_on_one_kernel_what_all_processes_used_holds_the_server_already() -> None:
    hidden = [here(t / 5, host_process_cpu_s=None) for t in range(1, 51)]
    totals = [there(0.05 + t / 5, foreign=1.6) for t in range(52)]
    figures = host_figures(with_server(hidden, totals, same_host=True), WINDOW, requests=80, cores=4)
    assert figures.server_cpu_cores == pytest.approx(3)
    # 1.61 beside the server, less the load's 1 and harness's 0.1
    assert figures.foreign_cpu_cores == pytest.approx(0.51)


def test_where_the_probe_saw_no_server_nothing_is_made_up() -> None:
    blind = [HostReading(r.at_ns, None, None, r.host_cpu_s, None, None) for r in THERE]
    assert with_server(HERE, blind, same_host=False) == HERE
    assert with_server(HERE, [], same_host=True) == HERE


def test_what_the_probe_did_not_cover_is_none() -> None:
    rows = with_server(HERE, [r for r in THERE if r.at_ns < 5 * S], same_host=False)
    assert all((row.server_cpu_s is None) == (row.at_ns > 4.9 * S) for row in rows)
    assert all((row.server_memory_bytes is None) == (row.server_cpu_s is None) for row in rows)
    figures = host_figures(rows, WINDOW, requests=80, cores=4)
    assert (figures.server_cpu_cores, figures.foreign_cpu_cores) == (None, None)


@given(times=st.lists(st.integers(0, 20 * S), min_size=2, max_size=40, unique=True).map(sorted))
def test_the_counter_is_read_off_between_readings_and_never_falls(times: list[int]) -> None:
    theirs = [there(at_ns / S) for at_ns in times]
    read = [row.server_cpu_s for row in with_server(HERE, theirs, same_host=False)]
    known = [value for value in read if value is not None]
    assert known == sorted(known)
    for row, value in zip(HERE, read, strict=True):
        inside = times[0] <= row.at_ns <= times[-1]
        assert value == (pytest.approx(3 * row.at_ns / S, rel=1e-6, abs=1e-6) if inside else None)


def test_others_on_the_servers_machine_are_told_of_where_they_take_a_tenth_of_it() -> None:
    busy = [there(t / 5, foreign=1.5) for t in range(51)]
    assert foreign_there(busy, cores=8) == "other processes used 1.5 of the 8 cores of the server's machine"
    assert foreign_there(busy, cores=16) is None
    assert foreign_there([], cores=8) is None
    assert foreign_there(busy[:2], cores=8) is None, "too short to be told from chance"
