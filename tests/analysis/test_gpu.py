"""The GPUs' figures from readings: exact for linear counters, whatever the sampling phase; and where there is
none, why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.gpu import READ_AS, UNREPORTED, gpu_figures, gpu_watch
from harness.schema.result import GpuFigures
from harness.schema.samples import GpuProcess, GpuReading
from tests.analysis.readings import GIB, device, durations, gpu, intervals, phases, times, window


def only(readings: list[GpuReading], end_s: float = 10, inferences: int = 5, **more: Any) -> GpuFigures:
    """The figures of one GPU over a window that begins at 0."""
    (figures,) = (
        gpu_figures(readings, [more.pop("gpu", device())], window(0, end_s), inferences, **more) or ()
    )
    return figures


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


def test_without_gpus_there_are_no_figures() -> None:
    assert gpu_figures([], [], window(0, 10), inferences=5) is None


# ---- power over time ----


@given(
    at_start_w=st.floats(10, 1000),
    at_end_w=st.floats(10, 1000),
    seconds=durations,
    phase_s=phases,
    interval_s=st.floats(0.05, 1.99),
)
def test_power_that_changes_evenly_is_integrated_exactly_whatever_the_sampling_phase(
    at_start_w: float, at_end_w: float, seconds: float, phase_s: float, interval_s: float
) -> None:
    readings = [
        gpu(t, power_w=at_start_w + (at_end_w - at_start_w) * t / seconds)
        for t in times(phase_s, interval_s, seconds)
    ]
    mean_w = (at_start_w + at_end_w) / 2
    assert only(readings, seconds).energy_j_by_power == pytest.approx(mean_w * seconds, rel=1e-6)


def test_power_readings_with_a_gap_of_over_two_seconds_are_not_integrated() -> None:
    def integrated(*at_s: float) -> GpuFigures:
        return only([gpu(t, power_w=100.0) for t in at_s], 6)

    assert integrated(-1, 1, 3, 5, 7).energy_j_by_power == pytest.approx(600.0)
    gap = integrated(-1, 1, 3.1, 5, 7)
    assert gap.energy_j_by_power is None
    assert gap.unsupported["energy_j_by_power"] == "the power readings leave a gap of over 2 s"
    assert integrated(-9, -1, 1, 3, 5, 7, 20).energy_j_by_power is not None, "gaps outside don't count"
    assert integrated(-1.5, 1, 3, 5, 7).energy_j_by_power is None, "a gap at the edge does"
    assert integrated(1, 3, 5, 7).energy_j_by_power is None, "not covered"


# ---- activities ----


@given(
    values=st.lists(st.floats(0, 1), min_size=2, max_size=40),
    ends=st.lists(st.floats(0.05, 2), min_size=40, max_size=40),
)
def test_activities_are_weighted_by_the_time_since_the_reading_before(
    values: list[float], ends: list[float]
) -> None:
    """Against the integral of what the values are means of, over a window that ends with readings."""
    at_s, area = [0.0], 0.0
    for value, length in zip(values, ends, strict=False):
        at_s.append(at_s[-1] + length)
        area += value * length
    readings = [gpu(0.0, sm_activity=0.9)]
    readings += [gpu(t, sm_activity=v) for t, v in zip(at_s[1:], values, strict=True)]
    readings.insert(1, gpu(0.01))  # a reading without a value takes no part
    assert only(readings, at_s[-1]).sm_activity_mean == pytest.approx(area / at_s[-1], rel=1e-6, abs=1e-9)


def test_an_activity_that_reaches_over_an_edge_counts_for_the_part_inside() -> None:
    readings = [gpu(t, tensor_activity=v) for t, v in ((-2.0, 0.0), (2.0, 1.0), (9.0, 0.5), (12.0, 0.0))]
    # 2 s at 1.0, 7 s at 0.5, 1 s at 0.0
    assert only(readings).tensor_activity_mean == pytest.approx((2 * 1.0 + 7 * 0.5) / 10)


def test_activities_of_a_part_of_the_window_are_not_those_of_the_window() -> None:
    readings = [gpu(t, dram_activity=0.5) for t in (-1.0, 2.0, 4.0)] + [gpu(11.0)]
    figures = only(readings)
    assert figures.dram_activity_mean is None
    assert figures.unsupported["dram_activity_mean"] == "read for only 40% of the measured phase"


# ---- idle ----

IDLE = window(-3, -1)


def idle_readings(**fields: Any) -> list[GpuReading]:
    """100 W idle from -3 s on, 500 W from -1 s on."""
    energy = {t / 4: 100.0 * (t / 4 + 3) for t in range(-12, -4)}
    energy |= {t / 4: 200.0 + 500.0 * (t / 4 + 1) for t in range(-4, 45)}
    return [gpu(t, e, utilization=0.0 if t < -0.9 else 0.95, **fields) for t, e in energy.items()]


def test_idle_power_is_the_counters_growth_before_the_load_and_its_share_of_an_inference() -> None:
    figures = only(idle_readings(), inferences=50, idle=IDLE)
    assert figures.idle_power_w == pytest.approx(100.0)
    assert figures.energy_j_per_inference == pytest.approx(500 * 10 / 50)
    assert figures.idle_energy_j_per_inference == pytest.approx(100 * 10 / 50)


def test_without_a_counter_idle_power_is_the_mean_of_the_power_readings() -> None:
    readings = [gpu(t / 2 - 3, power_w=90.0 + 10 * (t % 2), utilization=0.0) for t in range(6)]
    assert only([*readings, gpu(0.5, power_w=500.0)], idle=IDLE).idle_power_w == pytest.approx(94.0)


@pytest.mark.parametrize(
    ("readings", "idle", "says"),
    [
        (idle_readings(), None, "no idle time before the load was observed"),
        (idle_readings(), window(-3, -2.1), "the GPU was not idle for a second before the load"),
        (idle_readings(foreign_processes=("x (7)",)), IDLE, "other processes computed"),
        ([gpu(t / 4, 100.0 * t) for t in range(-12, 45)], IDLE, "whether the GPU was idle"),
        ([gpu(t / 4, 100.0 * t, utilization=0.1) for t in range(-12, 45)], IDLE, "was not idle for a second"),
    ],
)
def test_idle_power_that_cannot_be_told_has_its_reason(
    readings: list[GpuReading], idle: Any, says: str
) -> None:
    figures = only(readings, idle=idle)
    assert figures.idle_power_w is None and figures.idle_energy_j_per_inference is None
    assert says in figures.unsupported["idle_power_w"]
    assert says in figures.unsupported["idle_energy_j_per_inference"]


def test_work_at_the_start_of_the_idle_time_is_left_out() -> None:
    def reading(t: float) -> GpuReading:
        energy_j = 300.0 * t if t <= -3 else 300.0 * -3 + 100.0 * (t + 3)
        return gpu(t, energy_j, utilization=0.4 if t <= -3 else 0.0)

    readings = [reading(t / 4) for t in range(-20, 45)]
    assert only(readings, idle=window(-5, -1)).idle_power_w == pytest.approx(100.0)


# ---- memory errors, memory, processes ----


def test_memory_errors_are_whole_and_counted_between_the_readings_around_the_window() -> None:
    def errors(*each: tuple[float, int]) -> GpuFigures:
        return only([gpu(t, ecc_errors=n) for t, n in each])

    assert errors((-0.5, 3), (5, 3), (10.5, 3)).ecc_errors == 0
    assert errors((-0.5, 3), (5, 4), (10.5, 5)).ecc_errors == 2
    assert errors((-5, 1), (-0.5, 3), (10.5, 3), (12, 9)).ecc_errors == 0, "those before and after"
    anew = errors((-0.5, 3), (5, 0), (10.5, 4))
    assert anew.ecc_errors is None and "started anew" in anew.unsupported["ecc_errors"]
    assert errors((-0.5, 3), (5, 4), (8.6, 5)).ecc_errors == 2, "the last reading there is"
    for too_few in (errors((1, 3), (10.5, 3)), errors((-0.5, 3), (8.4, 5))):
        assert too_few.unsupported["ecc_errors"] == "not read on both sides of the measured phase"
    short = only([gpu(-0.5, ecc_errors=3), gpu(0.2, power_w=1.0)], 0.5)
    assert short.unsupported["ecc_errors"] == "not read on both sides of the measured phase"


def on_gpu(at_s: float, *each: GpuProcess, foreign: tuple[str, ...] | None = ()) -> GpuReading:
    return gpu(at_s, processes=each, foreign_processes=foreign)


def process(pid: int, memory_bytes: int | None = GIB) -> GpuProcess:
    return GpuProcess(pid, "p", memory_bytes)


def test_the_servers_memory_is_that_of_all_processes_but_foreign_ones_and_the_loads() -> None:
    readings = [
        on_gpu(1, process(10), process(11, 2 * GIB)),
        on_gpu(2, process(10), process(11, 3 * GIB), process(66, 9 * GIB), foreign=("rogue (10) (66)",)),
        on_gpu(3, process(10), process(20, 8 * GIB)),
        on_gpu(4, process(10), process(11, None)),
        on_gpu(11, process(10, 99 * GIB)),
    ]
    assert only(readings, load_pids={20}).server_memory_bytes_max == 4 * GIB


@pytest.mark.parametrize(
    ("reading", "says"),
    [
        (on_gpu(1, process(10), foreign=None), "can't be seen from here"),
        (on_gpu(1), "lists no process of the server"),
        (on_gpu(1, process(66), foreign=("rogue (66)",)), "lists no process of the server"),
        (on_gpu(1, process(10, None)), "doesn't tell a process's memory"),
        (gpu(1, utilization=0.5), UNREPORTED),
    ],
)
def test_memory_of_the_server_that_cannot_be_told_has_its_reason(reading: GpuReading, says: str) -> None:
    figures = only([reading])
    assert figures.server_memory_bytes_max is None
    assert says in figures.unsupported["server_memory_bytes_max"]


# ---- several, and MIG ----


def test_a_mig_device_has_its_own_readings_and_the_devices_reason_for_what_only_the_whole_has() -> None:
    why = {name: "only the whole GPU has it" for name in ("power_w", "energy_j", "utilization")}
    devices = [device(0), device(0, 3, **why), device(0, 5, **why)]
    readings = [
        reading
        for t in (-1.0, 5.0, 11.0)
        for reading in (
            gpu(t, energy_j=100.0 * t, power_w=100.0),
            gpu(t, mig_instance=3, memory_bytes=3, sm_activity=0.3),
            gpu(t, mig_instance=5, memory_bytes=5, sm_activity=0.5),
        )
    ]
    whole, three, five = gpu_figures(readings, devices, window(0, 10), 10, idle=IDLE) or ()
    assert (whole.energy_j, whole.memory_bytes_max, whole.mig_instance) == (pytest.approx(1000), None, None)
    assert (three.memory_bytes_max, five.memory_bytes_max) == (3, 5)
    assert (three.sm_activity_mean, five.sm_activity_mean) == (pytest.approx(0.3), pytest.approx(0.5))
    lacking = ("energy_j", "energy_j_per_inference", "power_w_mean", "energy_j_by_power", "idle_power_w")
    assert {three.unsupported[name] for name in lacking} == {"only the whole GPU has it"}


# ---- why there is no figure ----


@pytest.mark.parametrize(
    ("readings", "says"),
    [
        ([], "the GPU was not read"),
        ([gpu(-5, utilization=0.1), gpu(11, utilization=0.1)], "no reading in the measured phase"),
        ([gpu(1, power_w=1.0)], UNREPORTED),
        ([gpu(1, power_w=1.0), gpu(2)], "the GPU was lost during the point"),
        ([gpu(-1, utilization=0.4), gpu(1, power_w=1.0)], "no reading of it in the measured phase"),
    ],
)
def test_why_a_level_was_not_observed(readings: list[GpuReading], says: str) -> None:
    assert only(readings).unsupported["utilization_mean"] == says


def test_the_devices_own_reason_stands_before_what_the_readings_lack() -> None:
    told = device(0, utilization="the driver says: Not Supported")
    figures = only([gpu(1, power_w=1.0)], gpu=told)
    assert figures.unsupported["utilization_mean"] == "the driver says: Not Supported"


def test_without_an_inference_there_is_none_to_share_the_energy_out_to() -> None:
    figures = only(idle_readings(), inferences=0, idle=IDLE)
    assert figures.energy_j is not None and figures.idle_power_w is not None
    assert figures.unsupported["energy_j_per_inference"] == "no inference succeeded"
    assert figures.unsupported["idle_energy_j_per_inference"] == "no inference succeeded"


values = st.none() | st.floats(0, 1e6)
counts = st.none() | st.integers(0, 2**40)
processes = st.builds(GpuProcess, st.integers(1, 3), st.none(), counts)


@given(
    readings=st.lists(
        st.builds(
            GpuReading,
            at_ns=st.integers(-5, 15).map(lambda s: window(s, s).start_ns),
            device=st.just(0),
            utilization=values, memory_bytes=counts, power_w=values, energy_j=values, temperature_c=values,
            sm_clock_hz=values, memory_clock_hz=values,
            throttle_reasons=st.none() | st.just(("sw_power_cap",)),
            foreign_processes=st.none() | st.just(()) | st.just(("x (1)",)),
            sm_activity=values, pcie_tx_bytes_per_s=values, ecc_errors=counts,
            processes=st.none() | st.lists(processes, max_size=3).map(tuple),
        ),
        max_size=8,
    ).map(lambda found: sorted(found, key=lambda r: r.at_ns)),
    inferences=st.integers(0, 2),
    idle=st.none() | st.just(IDLE),
)  # fmt: skip
def test_every_figure_that_is_null_has_a_reason_and_no_other_has_one(
    readings: list[GpuReading], inferences: int, idle: Any
) -> None:
    figures = only(readings, inferences=inferences, idle=idle)
    null = {name for name in READ_AS if getattr(figures, name) is None}
    assert set(figures.unsupported) == null
    assert all(figures.unsupported.values())
    assert set(READ_AS) == set(GpuFigures.model_fields) - {"device", "mig_instance", "name", "unsupported"}


# ---- how well it was watched ----


def watched(*readings: GpuReading) -> tuple[float, bool]:
    (watch,) = gpu_watch(readings, [device()], window(0, 10))
    return pytest.approx(watch.seen), watch.lost


def test_a_gpu_that_goes_is_lost_and_one_whose_values_were_not_due_is_not() -> None:
    good = [gpu(t, 1.0) for t in (-1, 1, 3)]
    assert watched(*good, gpu(4)) == (0.4, True)
    assert watched(*good, gpu(4, 2.0)) == (0.4, False), "the probe ended, not the GPU"
    assert watched(*good, gpu(11)) == (0.3, False), "after the window, and after a gap"
    assert watched(gpu(-1), *good, gpu(4))[1] is False, "it has readings without a value now and then"
    assert watched(gpu(4)) == (0, False)
    assert watched() == (0, False)


def test_time_between_readings_far_apart_is_not_watched() -> None:
    assert watched(gpu(-1, 1.0), gpu(4, 1.0), gpu(9, 1.0), gpu(11, 1.0)) == (1.0, False)
    assert watched(gpu(-1, 1.0), gpu(4, 1.0), gpu(9.1, 1.0), gpu(11, 1.0)) == (pytest.approx(0.49), False)
