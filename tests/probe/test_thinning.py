"""What is kept of a day's readings of the host, and what its figures lose by that."""

from __future__ import annotations

from itertools import pairwise

import pytest

from harness.analysis.host import host_figures
from harness.probe.thinning import MOST, Thinning
from harness.schema.samples import HostReading, Window

DAY_S, A_SECOND = 86_400, 5


def reading(number: int) -> HostReading:
    """The machine is busy with two cores, one of them the server's; memory has one short peak."""
    at_s = number / A_SECOND
    return HostReading(
        at_ns=number * 10**9 // A_SECOND,
        server_cpu_s=at_s,
        client_cpu_s=at_s / 4,
        host_cpu_s=2 * at_s,
        server_memory_bytes=9_000 if number == 77_777 else 1_000,
        client_memory_bytes=None,
        harness_cpu_s=0.0,
        host_process_cpu_s=2 * at_s,
        stolen_cpu_s=0.0,
        throttled_cpu_s=None,
    )


def kept(count: int, most: int = MOST) -> list[HostReading]:
    thinning = Thinning(most)
    for number in range(count):
        thinning.add(reading(number))
        assert len(thinning.kept) <= most
        assert (thinning.kept[0].at_ns, thinning.kept[-1].at_ns) == (0, reading(number).at_ns)
    return thinning.kept


@pytest.mark.parametrize("count", [1, 2, MOST, MOST + 1, 3 * MOST + 17])
def test_readings_are_kept_apart_as_long_as_they_are_few_and_evenly_thereafter(count: int) -> None:
    found = kept(count)
    if count <= MOST:
        assert found == [reading(number) for number in range(count)]
    gaps = {b.at_ns - a.at_ns for a, b in pairwise(found[1:-1])}
    assert len(gaps) <= 1


def test_a_day_is_kept_in_as_few_and_has_the_same_figures() -> None:
    found = kept(DAY_S * A_SECOND)
    assert MOST / 2 <= len(found) <= MOST
    window = Window(int(61.3e9), int((DAY_S - 61.3) * 1e9))
    figures = host_figures(found, window, requests=1000, cores=4)
    assert figures.server_cpu_cores == pytest.approx(1.0, rel=1e-6)
    assert figures.host_busy_cores == pytest.approx(2.0, rel=1e-6)
    assert figures.foreign_cpu_cores == pytest.approx(0.75, rel=1e-6)
    assert (figures.server_memory_bytes, figures.client_memory_bytes) == (9_000, None)


@pytest.mark.parametrize("most", [3, 4, 5])
def test_any_bound_holds(most: int) -> None:
    assert len(kept(1000, most)) <= most
