"""What is kept of a day's readings of the host and of GPUs, and what their figures lose by that."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.analysis.gpu import POWER_GAP_S, gpu_figures
from harness.analysis.host import host_figures
from harness.probe.thinning import MOST, Thinning, of_gpus, of_hosts
from harness.schema.samples import GpuProcess, GpuReading, HostReading, Window
from tests.probe.test_spool import DEVICE as GPU
from tests.probe.test_spool import GPU as GPU_READINGS

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
    thinning = Thinning(of_hosts, most)
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


LOOKS, GPU_MOST, GPU_FIRST = 20, 2000, 100
"""A second; a day's readings are to 131,072 what 26,000 are to 2,000."""


def gpu_reading(number: int) -> GpuReading:
    """Half of the time busy with 300 W; energy, memory and temperature once a second, with one short peak."""
    at_s, busy, slow = number / LOOKS, (number // 7) % 2 == 0, number % LOOKS == 0
    return GpuReading(
        at_ns=number * 10**9 // LOOKS,
        device=0,
        utilization=1.0 if busy else 0.0,
        memory_bytes=9_000 if number == 12_345 else 1_000,
        power_w=300.0 if busy else 100.0,
        energy_j=200.0 * at_s,
        temperature_c=(71.0 if number == 13_340 else 60.0) if slow else None,
        sm_clock_hz=1.5e9,
        memory_clock_hz=None,
        throttle_reasons=(("sw_power_cap",) if number == 12_340 else ()) if slow else None,
        sm_activity=0.25 if number % 2 else 0.75,
        processes=(GpuProcess(7, "python", number),) if slow else None,
    )


def thinned_gpu(count: int, most: int = GPU_MOST) -> Thinning[GpuReading]:
    thinning = Thinning(of_gpus, most, GPU_FIRST)
    for number in range(count):
        thinning.add(gpu_reading(number))
        assert len(thinning.kept) <= max(most, GPU_FIRST + 2)
    assert thinning.taken == count
    return thinning


def test_a_long_time_on_a_gpu_is_kept_in_as_few_and_has_the_same_figures() -> None:
    count = 26_000
    found = thinned_gpu(count).kept
    assert found[:GPU_FIRST] == [gpu_reading(number) for number in range(GPU_FIRST)], (
        "the idle GPU before the load"
    )
    assert GPU_MOST / 2 <= len(found) <= GPU_MOST
    assert max(b.at_ns - a.at_ns for a, b in pairwise(found)) < POWER_GAP_S * 1e9
    window = Window(int(10.3e9), int((count / LOOKS - 10.3) * 1e9))
    whole = gpu_figures([gpu_reading(n) for n in range(count)], (GPU,), window, inferences=1000)[0]
    fewer = gpu_figures(found, (GPU,), window, inferences=1000)[0]
    for name in type(whole).model_fields:
        one, other = getattr(fewer, name), getattr(whole, name)
        if isinstance(other, float):
            assert one == pytest.approx(other, rel=0.01), name
        else:
            assert one == other, name
    assert fewer.power_w_mean == pytest.approx(200, rel=0.01)
    assert (fewer.memory_bytes_max, fewer.temperature_c_max) == (9_000, 71.0)
    assert fewer.throttle_reasons == ("sw_power_cap",)


def test_a_few_readings_of_a_gpu_stay_as_they_are() -> None:
    assert thinned_gpu(GPU_MOST).kept == [gpu_reading(number) for number in range(GPU_MOST)]


HIGHEST = replace(gpu_reading(0), power_w=1.7e305)  # times a thousand it is more than a float may be


@example([HIGHEST] * 9)
@given(st.lists(GPU_READINGS, min_size=2, max_size=60))
def test_whatever_is_read_of_a_gpu_stays_within_what_was_read(readings: list[GpuReading]) -> None:
    thinning = Thinning(of_gpus, 6, 2)
    for number, each in enumerate(readings):
        thinning.add(replace(each, at_ns=number * 1000))
    assert len(thinning.kept) <= 6 and thinning.kept[-1].at_ns == (len(readings) - 1) * 1000
    for name in ("utilization", "power_w", "memory_bytes", "temperature_c", "sm_activity"):
        known = [value for each in readings if (value := getattr(each, name)) is not None]
        left = [value for each in thinning.kept if (value := getattr(each, name)) is not None]
        assert (not known) == (not left)
        margin = 1e-9 * max(map(abs, known), default=0)
        assert all(min(known) - margin <= value <= max(known) + margin for value in left)
    wanted = {process.pid for each in readings for process in each.processes or ()}
    assert {process.pid for each in thinning.kept for process in each.processes or ()} == wanted
