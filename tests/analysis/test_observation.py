"""Figures from readings: exact for linear counters, whatever the sampling phase; None where not observed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.observation import gpu_figures, host_figures
from harness.schema.result import GpuEnvironment
from harness.schema.samples import GpuReading, HostReading, Window

BOOT_NS = 7_000_000_000_000_000  # 81 days: float64 nanoseconds are no longer exact here
GIB = 2**30


def device(index: int = 0) -> GpuEnvironment:
    return GpuEnvironment(
        device=index,
        name=f"GPU {index}",
        uuid=f"GPU-{index}",
        memory_bytes=None,
        driver=None,
        cuda_driver=None,
        power_limit_w=None,
        persistence=None,
        ecc=None,
        mig=None,
    )


def gpu(at_s: float, energy_j: float | None = None, **fields: object) -> GpuReading:
    empty = GpuReading(BOOT_NS + round(at_s * 1e9), 0, None, None, None, energy_j, None, None, None, None)
    return replace(empty, **fields)  # type: ignore[arg-type]


def host(at_s: float, **fields: object) -> HostReading:
    return replace(HostReading(BOOT_NS + round(at_s * 1e9), None, None, 0.0, None, None), **fields)  # type: ignore[arg-type]


def window(start_s: float, end_s: float) -> Window:
    return Window(BOOT_NS + round(start_s * 1e9), BOOT_NS + round(end_s * 1e9))


def times(phase_s: float, interval_s: float, end_s: float) -> list[float]:
    return [-phase_s + i * interval_s for i in range(int((end_s + phase_s) / interval_s) + 3)]


phases = st.floats(0, 1)
intervals = st.floats(0.05, 3)
durations = st.floats(0.1, 60)


@given(power_w=st.floats(1, 1000), seconds=durations, phase_s=phases, interval_s=intervals)
def test_constant_power_over_a_time_gives_their_product_whatever_the_sampling_phase(
    power_w: float, seconds: float, phase_s: float, interval_s: float
) -> None:
    counter = [gpu(t, energy_j=1e6 + power_w * t) for t in times(phase_s, interval_s, seconds)]
    (figures,) = gpu_figures(counter, [device()], window(0, seconds), inferences=10) or ()
    assert figures.energy_j == pytest.approx(power_w * seconds, rel=1e-6, abs=1e-6)
    assert figures.power_w_mean == pytest.approx(power_w, rel=1e-4)
    assert figures.energy_j_per_inference == pytest.approx(power_w * seconds / 10, rel=1e-6, abs=1e-6)


@given(
    server=st.floats(0, 64),
    client=st.floats(0, 4),
    seconds=durations,
    phase_s=phases,
    interval_s=intervals,
    requests=st.integers(1, 10**6),
)
def test_linear_cpu_totals_are_read_off_exactly_at_the_edges_of_the_window(
    server: float, client: float, seconds: float, phase_s: float, interval_s: float, requests: int
) -> None:
    readings = [
        host(
            t,
            server_cpu_s=100 + server * t,
            client_cpu_s=5 + client * t,
            host_cpu_s=1e4 + (server + client) * t,
        )
        for t in times(phase_s, interval_s, seconds)
    ]
    figures = host_figures(readings, window(0, seconds), requests, cores=8)
    assert figures.cores == 8
    assert figures.server_cpu_cores == pytest.approx(server, rel=1e-6, abs=1e-6)
    assert figures.client_cpu_cores == pytest.approx(client, rel=1e-6, abs=1e-6)
    assert figures.host_busy_cores == pytest.approx(server + client, rel=1e-6, abs=1e-6)
    assert figures.client_cpu_s_per_request == pytest.approx(client * seconds / requests, rel=1e-6, abs=1e-9)


@given(
    steps=st.lists(st.floats(0, 10), min_size=12, max_size=12),
    cut_s=st.floats(0.5, 9.5),
)
def test_the_growth_of_two_adjoining_windows_adds_up_to_that_of_both(
    steps: list[float], cut_s: float
) -> None:
    total, readings = 0.0, []
    for second, step in enumerate(steps):
        total += step
        readings.append(gpu(second - 0.5, energy_j=total))
    parts = [(0.0, cut_s), (cut_s, 10.0), (0.0, 10.0)]
    first, second_part, whole = (
        gpu_figures(readings, [device()], window(*part), inferences=1)[0].energy_j  # type: ignore[index]
        for part in parts
    )
    assert first is not None and second_part is not None
    assert first + second_part == pytest.approx(whole, rel=1e-9, abs=1e-6)


def test_what_happened_outside_the_window_does_not_count() -> None:
    busy_before = [host(0, server_cpu_s=0.0), host(10, server_cpu_s=80.0), host(20, server_cpu_s=80.0)]
    assert host_figures(busy_before, window(10, 20), 1, 8).server_cpu_cores == 0
    memory = [
        host(t, server_memory_bytes=m) for t, m in ((1, 9 * GIB), (11, GIB), (15, 2 * GIB), (21, 8 * GIB))
    ]
    assert host_figures(memory, window(10, 20), 1, 8).server_memory_bytes == 2 * GIB


def test_a_counter_that_does_not_cover_the_window_was_not_observed() -> None:
    late = [gpu(1, 100.0), gpu(5, 500.0), gpu(11, 1100.0)]
    early = [gpu(-1, 0.0), gpu(5, 500.0), gpu(9, 900.0)]
    for readings in (late, early, []):
        (figures,) = gpu_figures(readings, [device()], window(0, 10), inferences=5) or ()
        assert figures.energy_j is None
        assert figures.energy_j_per_inference is None
        assert figures.power_w_mean is None


def test_a_gap_at_an_edge_is_bridged_by_the_next_known_reading() -> None:
    readings = [gpu(-2, 0.0), gpu(-1, None), gpu(1, None), gpu(2, 400.0), gpu(12, 1400.0)]
    (figures,) = gpu_figures(readings, [device()], window(0, 10), inferences=5) or ()
    assert figures.energy_j == pytest.approx(1000.0)


def test_a_counter_that_starts_anew_in_the_window_was_not_observed() -> None:
    restarted = [gpu(-1, 900.0), gpu(3, 1300.0), gpu(6, 100.0), gpu(12, 700.0)]
    (figures,) = gpu_figures(restarted, [device()], window(0, 10), inferences=5) or ()
    assert figures.energy_j is None
    before_the_window = [gpu(-9, 5000.0), gpu(-1, 0.0), gpu(12, 1300.0)]
    (figures,) = gpu_figures(before_the_window, [device()], window(0, 10), inferences=5) or ()
    assert figures.energy_j == pytest.approx(1000.0)


def test_a_lost_gpu_keeps_what_was_seen_of_it_and_has_no_energy() -> None:
    readings = [
        gpu(-1, 0.0),
        gpu(1, 100.0, utilization=0.5, temperature_c=60.0),
        gpu(2),
    ]
    (figures,) = gpu_figures(readings, [device()], window(0, 10), inferences=5) or ()
    assert figures.energy_j is None
    assert (figures.utilization_mean, figures.temperature_c_max) == (0.5, 60.0)


def test_without_an_energy_counter_power_is_the_mean_of_its_readings() -> None:
    readings = [gpu(-1, power_w=900.0), gpu(1, power_w=100.0), gpu(2, power_w=None), gpu(3, power_w=300.0)]
    (figures,) = gpu_figures(readings, [device()], window(0, 10), inferences=5) or ()
    assert figures.power_w_mean == 200.0
    assert figures.energy_j is None


def test_levels_are_means_and_maxima_of_the_readings_inside_the_window() -> None:
    readings = [
        gpu(-1, utilization=1.0, sm_clock_hz=9e9, memory_bytes=99, temperature_c=99.0),
        gpu(1, utilization=0.2, sm_clock_hz=1e9, memory_bytes=10, temperature_c=50.0),
        gpu(2, utilization=0.6, sm_clock_hz=2e9, memory_bytes=30, temperature_c=70.0),
        gpu(9, utilization=None, sm_clock_hz=None, memory_bytes=20, temperature_c=None),
    ]
    (figures,) = gpu_figures(readings, [device()], window(0, 10), inferences=5) or ()
    assert figures.utilization_mean == pytest.approx(0.4)
    assert figures.sm_clock_hz_mean == pytest.approx(1.5e9)
    assert figures.memory_bytes_max == 30
    assert figures.temperature_c_max == 70.0


def test_throttle_reasons_are_those_of_any_reading_in_the_window_without_idleness() -> None:
    def reasons(*each: tuple[str, ...] | None) -> tuple[str, ...] | None:
        readings = [gpu(1 + i, throttle_reasons=r) for i, r in enumerate(each)]
        return gpu_figures(readings, [device()], window(0, 10), inferences=5)[0].throttle_reasons  # type: ignore[index]

    assert reasons(("gpu_idle",), ("sw_power_cap", "hw_slowdown"), ("sw_power_cap",)) == (
        "sw_power_cap",
        "hw_slowdown",
    )
    assert reasons((), ("gpu_idle",)) == ()
    assert reasons(None, None) is None


def test_foreign_is_what_all_processes_used_less_ours() -> None:
    def foreign(seconds: float = 10, **rates: float | None) -> float | None:
        """Of counters that grow by so much a second."""
        readings = [
            host(
                t,
                **{f"{name}_cpu_s": None if rate is None else rate * (t + 5) for name, rate in rates.items()},
            )
            for t in (-1.0, 0.5, seconds + 1)
        ]
        return host_figures(readings, window(0, seconds), 1, 2).foreign_cpu_cores

    assert foreign(host_process=1.5, server=0.5, client=0.25, harness=0.05) == pytest.approx(0.7)
    assert foreign(host_process=1.5, server=None, client=0.25, harness=0.05) == pytest.approx(1.2), (
        "elsewhere"
    )
    assert foreign(host_process=0.5, server=0.5, client=0.25, harness=0.05) == 0, "ticks, and interrupts"
    assert foreign(host_process=None, server=0.5) is None
    assert foreign(0.9, host_process=1.5, server=0.5) is None, "too short for ticks of 10 ms"


def test_foreign_is_not_made_up_where_a_part_of_ours_does_not_cover_the_window() -> None:
    readings = [host(-1, host_process_cpu_s=0.0), host(5, host_process_cpu_s=6.0, server_cpu_s=1.0)]
    readings.append(host(11, host_process_cpu_s=12.0, server_cpu_s=2.0))
    assert host_figures(readings, window(0, 10), 1, 2).foreign_cpu_cores is None


def test_stolen_and_throttled_time_are_cores_a_second() -> None:
    readings = [host(t, stolen_cpu_s=0.2 * t + 1, throttled_cpu_s=0.5 * t + 1) for t in (-1.0, 11.0)]
    figures = host_figures(readings, window(0, 10), 1, 2)
    assert figures.stolen_cpu_cores == pytest.approx(0.2)
    assert figures.throttled_cpu_cores == pytest.approx(0.5)


def test_foreign_processes_are_all_that_were_seen_in_the_window() -> None:
    def seen(*each: tuple[str, ...] | None) -> tuple[str, ...] | None:
        readings = [gpu(1 + i, foreign_processes=names) for i, names in enumerate(each)]
        readings.append(gpu(11, foreign_processes=("late (9)",)))
        return gpu_figures(readings, [device()], window(0, 10), inferences=5)[0].foreign_processes  # type: ignore[index]

    assert seen((), ("a (1)",), None, ("b (2)", "a (1)")) == ("a (1)", "b (2)")
    assert seen((), None) == ()
    assert seen(None) is None


def test_each_gpu_has_its_own_figures() -> None:
    readings = [gpu(t, energy_j=e * t, device=d) for t in (-1.0, 11.0) for d, e in ((0, 100.0), (1, 200.0))]
    figures = gpu_figures(readings, [device(0), device(1)], window(0, 10), inferences=100)
    assert figures is not None
    assert [f.device for f in figures] == [0, 1]
    assert [f.energy_j for f in figures] == pytest.approx([1000.0, 2000.0])


def test_without_gpus_and_without_readings_nothing_is_made_up() -> None:
    assert gpu_figures([], [], window(0, 10), inferences=5) is None
    figures = host_figures([], window(0, 10), requests=0, cores=2)
    assert figures.model_dump(exclude={"cores"}) == dict.fromkeys(set(type(figures).model_fields) - {"cores"})
    remote = [host(-1, client_cpu_s=1.0), host(11, client_cpu_s=13.0)]
    figures = host_figures(remote, window(0, 10), requests=0, cores=2)
    assert figures.server_cpu_cores is None
    assert figures.client_cpu_cores == pytest.approx(1.0)
    assert figures.client_cpu_s_per_request is None
