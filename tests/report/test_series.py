import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.columns import gather
from harness.report.page import series
from harness.report.page.dots import MOST_DOTS, Dots, thinned
from harness.report.page.series import MOST_QUANTILES, MOST_READINGS
from harness.schema.samples import REQUEST, GpuReading, HostReading, Phase, Status, Window
from tests.report import factory, gpu_factory, samples

START = 5_000_000_000


def requests(latency_s, *, status=Status.OK, phase=Phase.MEASURE):
    latency_s = np.asarray(latency_s, dtype=float)
    made = np.zeros(latency_s.size, dtype=REQUEST)
    made["intended_ns"] = START + np.arange(latency_s.size) * 1_000_000
    made["completed_ns"] = made["intended_ns"] + np.rint(latency_s * 1e9).astype(np.int64)
    made["status"] = status
    made["phase"] = phase
    return made


def series_of(requests, classes, host, gpu, window, **more):
    return series.series_of(*gather([requests], requests.size), classes, host, gpu, window, **more)


def dots(time_s, latency_s, error):
    n = len(time_s)
    return Dots(
        time_s=np.asarray(time_s, dtype=float),
        latency_s=np.asarray(latency_s, dtype=float),
        request_class=np.zeros(n, dtype=np.int64),
        error=np.asarray(error, dtype=bool),
        warmup=np.zeros(n, dtype=bool),
        of=n,
    )


def test_few_requests_are_all_kept():
    made = series_of(requests([0.001, 0.002, 0.003]), ["a"], [], None, Window(START, START + 10**9))
    assert made.dots.time_s.tolist() == pytest.approx([0, 0.001, 0.002])
    assert made.dots.latency_s.tolist() == pytest.approx([0.001, 0.002, 0.003])
    assert made.host is None and made.gpu is None


def test_a_million_requests_are_thinned_and_keep_the_extremes_and_the_errors():
    latency = np.random.default_rng(1).lognormal(-6, 0.5, 1_000_000)
    latency[[123_456, 777_777]] = [9.0, 0.00001]
    many = requests(latency)
    many["status"][500_000] = Status.TIMEOUT
    made = series_of(many, ["a"], [], None, Window(START, START + 10**12))
    drawn = made.dots
    assert drawn.time_s.size <= MOST_DOTS
    assert drawn.of == 1_000_000
    assert drawn.latency_s.max() == pytest.approx(9.0)
    assert drawn.latency_s.min() == pytest.approx(0.00001)
    assert drawn.error.sum() == 1
    assert drawn.time_s[drawn.error] == pytest.approx(500.0)
    assert np.all(np.diff(drawn.time_s) >= 0)


def test_slow_moments_survive_thinning():
    time = np.arange(100_000) / 1000
    latency = np.full(time.size, 0.001)
    stalls = np.arange(1500, 100_000, 5000)  # one slow request every 5 s
    latency[stalls] = 1.0
    kept = thinned(dots(time, latency, np.zeros(time.size, bool)), 400)
    assert set(time[stalls]) <= set(kept.time_s[kept.latency_s == 1.0])


def test_a_run_of_nothing_but_errors_is_drawn():
    made = series_of(requests(np.full(5000, 30.0), status=Status.TIMEOUT), ["a"], [], None, None)
    assert made.dots.error.all()
    assert 0 < made.dots.time_s.size <= MOST_DOTS
    assert made.quantiles.of == 0 and made.quantiles.share.size == 0


@given(
    n=st.integers(0, 3000),
    most=st.integers(10, 500),
    seed=st.integers(0, 10),
    failing=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_thinning_never_exceeds_its_limit_never_invents_and_keeps_both_extremes(n, most, seed, failing):
    random = np.random.default_rng(seed)
    all_dots = dots(np.sort(random.random(n)), random.random(n), random.random(n) < failing)
    kept = thinned(all_dots, most)
    assert kept.time_s.size <= most
    assert kept.of == n
    assert set(kept.time_s) <= set(all_dots.time_s)
    assert len(set(kept.time_s)) == kept.time_s.size
    good = all_dots.latency_s[~all_dots.error]
    if good.size:
        drawn = kept.latency_s[~kept.error]
        assert drawn.max() == good.max() and drawn.min() == good.min()
    if all_dots.error.any():
        assert kept.error.any()


@given(st.lists(st.floats(1e-6, 100), min_size=1, max_size=2000))
@settings(max_examples=60, deadline=None)
def test_the_quantile_curve_is_made_of_order_statistics(latency):
    curve = series_of(requests(latency), ["a"], [], None, None).quantiles
    ordered = np.sort(np.rint(np.array(latency) * 1e9) / 1e9)
    n = ordered.size
    assert curve.of == n and curve.share.size <= MOST_QUANTILES
    ranks = np.rint(curve.share * n - 0.5).astype(int)
    assert np.allclose(curve.latency_s, ordered[ranks], rtol=1e-9, atol=1e-12)
    assert np.all(np.diff(curve.share) > 0) and curve.share[0] > 0 and curve.share[-1] < 1
    assert curve.latency_s[-1] == pytest.approx(ordered[-1])


def test_warm_up_and_errors_are_not_in_the_quantile_curve_but_among_the_dots():
    warm = requests([9.0], phase=Phase.WARMUP)
    failed = requests([8.0], status=Status.REFUSED)
    good = requests([0.1, 0.2])
    made = series_of(np.concatenate([warm, failed, good]), ["a"], [], None, None)
    assert made.quantiles.latency_s.tolist() == pytest.approx([0.1, 0.2])
    assert made.dots.warmup.sum() == 1 and made.dots.error.sum() == 1


def test_what_counts_in_no_figure_is_drawn_and_not_in_the_quantile_curve():
    failed = requests([8.0], status=Status.REFUSED)
    rest = requests([9.0, 7.0, 0.1, 0.2, 0.3])
    made = series_of(np.concatenate([failed, rest]), ["a"], [], None, None, counted=slice(2, 4))
    assert made.quantiles.latency_s.tolist() == pytest.approx([0.1, 0.2])
    assert made.dots.time_s.size == 6


def reading(second, server, client, host):
    return HostReading(
        at_ns=START + int(second * 1e9),
        server_cpu_s=server,
        client_cpu_s=client,
        host_cpu_s=host,
        server_memory_bytes=100,
        client_memory_bytes=None,
    )


def test_cpu_totals_become_cores_and_what_was_not_seen_stays_none():
    readings = [reading(0, 10.0, None, 50.0), reading(2, 13.0, None, 54.0), reading(3, 12.0, None, 55.0)]
    host = series_of(requests([0.1]), ["a"], readings, None, Window(START, START + 1)).host
    assert host is not None
    assert host.time_s == (2.0, 3.0)
    assert host.server_cores == (1.5, None)  # the total fell: a process of the group ended
    assert host.client_cores == (None, None)
    assert host.host_cores == (2.0, 1.0)
    assert host.server_memory_bytes == (100, 100)
    assert host.client_memory_bytes == (None, None)


def test_many_host_readings_are_skipped_without_losing_cpu_time():
    readings = [reading(i / 10, i * 0.1, 0.0, i * 0.2) for i in range(5001)]
    host = series_of(requests([0.1]), ["a"], readings, None, Window(START, START + 1)).host
    assert host is not None
    assert len(host.time_s) <= MOST_READINGS
    assert all(c == pytest.approx(1.0) for c in host.server_cores)


def test_gpu_readings_are_split_by_device_and_averaged_in_blocks():
    readings = [
        GpuReading(
            at_ns=START + i * 10**8,
            device=i % 2,
            utilization=0.25 if i % 2 else 0.75,
            memory_bytes=10,
            power_w=None,
            energy_j=None,
            temperature_c=None,
            sm_clock_hz=1e9,
            memory_clock_hz=None,
            throttle_reasons=None,
        )
        for i in range(2000)
    ]
    gpus = series_of(requests([0.1]), ["a"], [], readings, Window(START, START + 1)).gpu
    assert gpus is not None and [g.device for g in gpus] == [0, 1]
    assert all(len(g.time_s) <= MOST_READINGS for g in gpus)
    assert set(gpus[0].levels["utilization"]) == {0.75} and set(gpus[1].levels["utilization"]) == {0.25}
    assert set(gpus[0].levels) == {"utilization", "memory_bytes", "sm_clock_hz"}, "no series of nothing"


def test_mig_devices_have_series_of_their_own_after_their_gpu():
    window = Window(START, START + 10**10)
    readings = gpu_factory.readings(window, devices=((1, None), (0, 5), (0, None), (0, 3)))
    gpus = series_of(requests([0.1]), ["a"], [], readings, window).gpu
    assert gpus is not None
    assert [(g.device, g.mig_instance) for g in gpus] == [(0, None), (0, 3), (0, 5), (1, None)]
    assert all(g.levels and len(values) == len(g.time_s) > 0 for g in gpus for values in g.levels.values())


@given(
    values=st.lists(st.none() | st.floats(0, 100), min_size=1, max_size=200),
    most=st.integers(1, 50),
)
def test_coarser_series_keep_their_length_their_range_and_what_was_seen(values, most):
    times = tuple(float(i) for i in range(len(values)))
    less = series.coarser(series.GpuSeries(0, None, times, {"power_w": tuple(values)}), most)
    assert len(less.time_s) == len(less.levels["power_w"]) <= most
    assert set(less.time_s) <= set(times) and list(less.time_s) == sorted(less.time_s)
    known, kept = [v for v in values if v is not None], [v for v in less.levels["power_w"] if v is not None]
    assert bool(known) == bool(kept)
    assert all(min(known) - 1e-9 <= v <= max(known) + 1e-9 for v in kept)


def test_an_empty_list_of_gpu_readings_is_no_gpu():
    assert series_of(requests([0.1]), ["a"], [], [], None).gpu is None


def test_classes_are_told_apart():
    run = factory.run_of(factory.OPEN_LOOP)
    requests, window = samples.requests_of(run.points[0])
    made = series_of(requests, ["short", "long"], [], None, window)
    assert made.classes == ("short", "long")
    assert set(made.dots.request_class.tolist()) == {0, 1}
