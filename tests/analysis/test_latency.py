from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.analysis import queueing
from harness.analysis.latency import interval_of_mean, rate, summarize
from harness.analysis.quantile import quantiles, requests_needed
from harness.schema import percentiles
from harness.schema.percentiles import PERCENTILES
from harness.schema.result import Interval

SHARES = {name: percentiles.share(name) for name in PERCENTILES}
SAMPLES = hnp.arrays(np.float64, st.integers(1, 2000), elements=st.floats(1e-6, 100))


@given(SAMPLES)
def test_percentiles_are_samples_in_order_inside_their_intervals(sample: np.ndarray) -> None:
    figures = summarize(sample)
    known = [getattr(figures, name) for name in PERCENTILES if getattr(figures, name) is not None]
    assert known == sorted(known)
    for name in PERCENTILES:
        value = getattr(figures, name)
        if value is not None:
            low, high = figures.interval_95[name]
            assert value in sample
            assert figures.min <= low <= value <= high <= figures.max


@given(SAMPLES)
def test_a_percentile_is_at_least_as_large_as_its_share_of_the_sample(sample: np.ndarray) -> None:
    figures = summarize(sample)
    for name, share in SHARES.items():
        value = getattr(figures, name)
        if value is not None:
            assert np.mean(sample <= value) >= share - 1e-9
            assert np.mean(sample < value) <= share + 1e-9


def test_no_sample_gives_no_figure() -> None:
    figures = summarize(np.array([]))
    assert figures.p50 is None
    assert figures.mean is None
    assert figures.interval_95 == {}


@pytest.mark.parametrize(("name", "share"), SHARES.items())
def test_a_percentile_needs_the_number_of_requests_that_is_said(name: str, share: float) -> None:
    needed = requests_needed(share)
    rng = np.random.default_rng(1)
    enough = [getattr(summarize(rng.permutation(np.arange(1.0, needed + 1))), name) for _ in range(20)]
    too_few = [getattr(summarize(rng.permutation(np.arange(1.0, needed))), name) for _ in range(20)]
    assert any(value is not None for value in enough)
    assert all(value is None for value in too_few)


@dataclass(frozen=True)
class Repeated:
    """The same load, measured over and over: of each figure every value, interval and what is true."""

    values: dict[str, list[float]]
    intervals: dict[str, list[Interval]]
    truth: dict[str, float]
    runs: int
    at_least: dict[str, list[float]]
    """Lower limits of the percentiles, supported or not."""

    def limits_held(self, name: str) -> float:
        """Share of all runs whose lower limit isn't over the truth, or that have none."""
        return 1 - sum(limit > self.truth[name] for limit in self.at_least[name]) / self.runs

    def supported(self, name: str) -> float:
        return len(self.intervals[name]) / self.runs

    def missed(self, name: str) -> float:
        """Share of all runs whose interval doesn't hold the truth."""
        truth = self.truth[name]
        return sum(not low <= truth <= high for low, high in self.intervals[name]) / self.runs

    def coverage(self, name: str) -> float:
        return 1 - self.missed(name) / self.supported(name)

    def width(self, name: str) -> float:
        """Mean width of the intervals, in widths that would do if the sampling spread were known."""
        halves = [(high - low) / 2 for low, high in self.intervals[name]]
        return float(np.mean(halves) / (1.96 * np.std(self.values[name])))


Load = tuple[np.ndarray, np.ndarray]
"""Times due, from the phase's start, and latencies."""

SERVICE_S = 0.004
EARLY = 4000
"""Requests before the measured ones, in which the queue comes to its steady state."""

NOISE_S = 0.0003
"""Mean of what a wire adds: no two latencies are the same."""


def repeat(load: Callable[[np.random.Generator], Load], runs: int, truth: dict[str, float]) -> Repeated:
    values: dict[str, list[float]] = {name: [] for name in truth}
    intervals: dict[str, list[Interval]] = {name: [] for name in truth}
    at_least: dict[str, list[float]] = {name: [] for name in PERCENTILES}
    for seed in range(runs):
        due, latency = load(np.random.default_rng(seed))
        shares = quantiles(latency)
        found = {name: share.interval for name, share in shares.items() if share.interval is not None}
        got = {name: share.value for name, share in shares.items()} | {"mean": float(latency.mean())}
        for name, share in shares.items():
            at_least[name] += [share.at_least] if share.at_least is not None else []
        if (of_mean := interval_of_mean(latency)) is not None:
            found["mean"] = of_mean
        got["rate"], interval = rate(due + latency, float(due[-1]))
        if interval is not None:
            found["rate"] = interval
        for name in truth:
            if name in found:
                values[name].append(got[name])
                intervals[name].append(found[name])
    return Repeated(values, intervals, truth, runs, at_least)


def queue(due: np.ndarray, service: np.ndarray, rng: np.random.Generator, *stall: float) -> Load:
    """The requests after the early ones."""
    answered = queueing.finishes(due, service, *stall) + rng.exponential(NOISE_S, due.size)
    return due[EARLY:] - due[EARLY - 1], (answered - due)[EARLY:]


def mm1(rng: np.random.Generator, n: int, utilization: float) -> Load:
    due = np.cumsum(rng.exponential(SERVICE_S / utilization, n + EARLY))
    answered = queueing.finishes(due, rng.exponential(SERVICE_S, n + EARLY))
    return due[EARLY:] - due[EARLY - 1], (answered - due)[EARLY:]


def stalls(rng: np.random.Generator, n: int) -> Load:
    """Constant arrivals and service; the server stands still for 500 ms each 5 s, from any moment on."""
    due = np.arange(n + EARLY) / 97.3 + rng.uniform(0, 5)
    return queue(due, np.full(due.size, 0.005), rng, 0.5, 5.0)


def bimodal(rng: np.random.Generator, n: int, *stall: float) -> Load:
    due = np.cumsum(rng.exponential(0.01, n + EARLY)) + rng.uniform(0, 5)
    return queue(due, np.where(rng.random(due.size) < 0.9, 0.002, 0.02), rng, *stall)


def independent(rng: np.random.Generator, n: int) -> Load:
    return np.cumsum(rng.exponential(0.01, n)), rng.exponential(0.001, n)


def simulated(load: Load, per_second: float) -> dict[str, float]:
    """The truth by a very long run."""
    latency = load[1]
    shares = {name: float(np.quantile(latency, share)) for name, share in SHARES.items()}
    return {**shares, "mean": float(latency.mean()), "rate": per_second}


def queueing_truth(utilization: float) -> dict[str, float]:
    per_second = utilization / SERVICE_S
    shares = {name: queueing.mm1_sojourn_s(per_second, SERVICE_S, s) for name, s in SHARES.items()}
    mean_s = queueing.mm1_mean_sojourn_s(per_second, SERVICE_S)
    return {**shares, "mean": mean_s, "rate": per_second}


@functools.cache
def repeated(name: str) -> Repeated:
    long = np.random.default_rng(10**6)
    match name:
        case "independent":
            shares = {name: -0.001 * math.log(1 - share) for name, share in SHARES.items()}
            return repeat(lambda rng: independent(rng, 6000), 300, {**shares, "mean": 0.001, "rate": 100})
        case "M/M/1 at 0.2":  # what `harness calibrate` counts coverage on
            return repeat(lambda rng: mm1(rng, 2400, 0.2), 900, queueing_truth(0.2))
        case "M/M/1 at 0.5":
            return repeat(lambda rng: mm1(rng, 60_000, 0.5), 200, queueing_truth(0.5))
        case "M/M/1 at 0.8":
            return repeat(lambda rng: mm1(rng, 120_000, 0.8), 150, queueing_truth(0.8))
        case "stalls":
            truth = simulated(stalls(long, 1_000_000), 97.3)
            return repeat(lambda rng: stalls(rng, 12_000), 200, truth)
        case "bimodal":
            truth = simulated(bimodal(long, 2_000_000), 100)
            return repeat(lambda rng: bimodal(rng, 20_000), 200, truth)
        case "bimodal with stalls":
            truth = simulated(bimodal(long, 2_000_000, 0.5, 5.0), 100)
            return repeat(lambda rng: bimodal(rng, 12_000, 0.5, 5.0), 200, truth)
        case _:
            raise KeyError(name)


LOADS = (
    "independent",
    "M/M/1 at 0.2",
    "M/M/1 at 0.5",
    "M/M/1 at 0.8",
    "stalls",
    "bimodal",
    "bimodal with stalls",
)
FIGURES = ("p50", "p99", "mean", "rate")


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("load", LOADS)
def test_intervals_cover_the_truth_in_93_of_100_runs(load: str, name: str) -> None:
    runs = repeated(load)
    assert runs.supported(name) >= (0.7 if name == "p99" else 1.0)
    assert runs.coverage(name) >= 0.93


@pytest.mark.parametrize("load", ["independent", "M/M/1 at 0.5", "stalls"])
def test_intervals_of_p999_cover_the_truth_where_it_is_mostly_supported(load: str) -> None:
    assert repeated(load).supported("p999") >= 0.6
    assert repeated(load).coverage("p999") >= 0.93


@pytest.mark.parametrize("load", LOADS)
def test_a_percentile_is_seldom_stated_wrongly_where_the_sample_hardly_supports_it(load: str) -> None:
    """Where the few bursts that were seen happen to be alike, an unsupported percentile looks supported."""
    assert all(repeated(load).missed(name) <= 0.07 for name in PERCENTILES)


@pytest.mark.parametrize("load", LOADS)
def test_a_lower_limit_is_over_the_truth_in_at_most_7_of_100_runs(load: str) -> None:
    assert {name: held for name in PERCENTILES if (held := repeated(load).limits_held(name)) < 0.93} == {}


SHORT: dict[str, tuple[Callable[[np.random.Generator], Load], Callable[[], dict[str, float]]]] = {
    "independent, 40": (lambda rng: independent(rng, 40), lambda: repeated("independent").truth),
    "M/M/1 at 0.5, 1000": (lambda rng: mm1(rng, 1000, 0.5), lambda: queueing_truth(0.5)),
    "M/M/1 at 0.8, 1000": (lambda rng: mm1(rng, 1000, 0.8), lambda: queueing_truth(0.8)),
    "M/M/1 at 0.8, 2400": (lambda rng: mm1(rng, 2400, 0.8), lambda: queueing_truth(0.8)),
    "stalls, 500": (lambda rng: stalls(rng, 500), lambda: repeated("stalls").truth),
    "bimodal with stalls, 2000": (
        lambda rng: bimodal(rng, 2000, 0.5, 5.0),
        lambda: repeated("bimodal with stalls").truth,
    ),
}


@pytest.mark.parametrize("load", SHORT)
def test_any_sample_has_a_lower_limit_that_holds(load: str) -> None:
    """Also where the sample is far too short for an interval."""
    draw, truth = SHORT[load]
    runs = repeat(draw, 200, truth())
    assert {name: held for name in PERCENTILES if (held := runs.limits_held(name)) < 0.93} == {}
    assert all(len(runs.at_least[name]) >= 0.95 * runs.runs for name in PERCENTILES)


@given(SAMPLES)
def test_what_is_known_of_a_percentile_is_known_of_the_lower_ones(sample: np.ndarray) -> None:
    """A p99 beside a p90 that can't be told would be a contradiction; so would a lower limit that falls."""
    found = quantiles(sample)
    known = [found[name].interval is not None for name in PERCENTILES]
    assert known == sorted(known, reverse=True)
    limits = [found[name].at_least for name in PERCENTILES if found[name].at_least is not None]
    assert limits == sorted(limits)
    for name in PERCENTILES:
        limit = found[name].at_least
        assert limit is None or (limit in sample and limit <= found[PERCENTILES[-1]].value)


def test_a_percentile_that_looks_supported_by_chance_is_open_where_a_lower_one_is() -> None:
    """Slow stretches leave the p90 open; within them the slowest requests happen to be spread evenly."""
    rng = np.random.default_rng(3)
    slow = np.zeros(4000, dtype=bool)
    slow[700:1000] = slow[2600:2800] = True
    latency = np.where(slow, 0.05, 0.01) + rng.exponential(0.001, slow.size)
    latency[::50] = 0.2 + rng.exponential(0.001, latency[::50].size)
    found = quantiles(latency)
    assert found["p90"].interval is None and found["p99"].interval is None
    assert found["p99"].why == "the slow requests come in clusters: not even the p90 is known"
    figures = summarize(latency, seconds=40.0)
    assert figures.p99 is None and figures.sample["p99"] > 0.2 and figures.at_least["p99"] > 0.01
    assert figures.more_s["p99"] == figures.more_s["p90"] > 30


def test_what_would_settle_a_percentile_settles_it() -> None:
    settled = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        more_s = summarize(rng.exponential(1.0, 200), seconds=20.0).more_s["p99"]
        assert 18.1 <= more_s <= 80, "381 requests or some more, at 10 a second"
        settled += summarize(rng.exponential(1.0, 200 + math.ceil(10 * more_s))).p99 is not None
    assert settled >= 30, "about: of half of them at least"


@pytest.mark.parametrize("load", LOADS)
def test_intervals_are_not_much_wider_than_they_must_be(load: str) -> None:
    """Stalls that come regularly are taken to be more irregular than they are, in a phase of 24 of them."""
    most = {"stalls": 6.0, "bimodal with stalls": 2.0}.get(load, 1.6)
    names = [name for name in FIGURES if (load, name) != ("independent", "rate")]  # its rate is fixed by n
    assert {name: repeated(load).width(name) for name in names if repeated(load).width(name) > most} == {}


@functools.cache
def textbook_coverage(name: str) -> float:
    """Shuffled, the samples give the textbook's interval: the check of the checks above."""
    truth, hits = queueing_truth(0.8)[name], 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        low, high = summarize(rng.permutation(mm1(rng, 60_000, 0.8)[1])).interval_95[name]
        hits += low <= truth <= high
    return hits / 50


@pytest.mark.parametrize("name", ["p50", "p99", "mean"])
def test_taking_requests_for_independent_would_not_cover(name: str) -> None:
    assert textbook_coverage(name) < 0.6


def test_a_trend_as_long_as_the_sample_supports_no_percentile() -> None:
    noise = np.random.default_rng(1).exponential(0.1, 20_000)
    figures = summarize(1 + np.linspace(0, 5, noise.size) + noise)
    assert [getattr(figures, name) for name in PERCENTILES if name != "p50"] == [None] * 4
    low, high = figures.interval_95["p50"]
    assert low < 1.6 and high > 5.6, "of the median no more than that it is somewhere in the middle"
    assert "come in clusters" in figures.unsupported["p99"]


def test_why_a_percentile_is_null_is_said() -> None:
    few = summarize(np.random.default_rng(1).exponential(1, 212))
    assert few.unsupported["p99"] == "212 requests; a p99 takes 381 that are independent"
    assert few.unsupported["p999"] == "212 requests; a p99.9 takes 3838 that are independent"
    assert set(few.unsupported) == {name for name in PERCENTILES if getattr(few, name) is None}
    clustered = np.random.default_rng(1).exponential(1, 20_000)
    clustered[9000:9250] += 50
    assert summarize(clustered).unsupported == {
        name: "the slow requests come in clusters: its interval reaches past the largest sample"
        for name in ("p99", "p999")
    }


def test_the_mean_of_a_few_large_values_may_be_much_larger_than_it_looks() -> None:
    """A skewed mean's interval reaches farther up than down."""
    values = np.random.default_rng(1).lognormal(0, 2, 2000)
    low, high = interval_of_mean(values)  # type: ignore[misc]
    assert high - values.mean() > 1.2 * (values.mean() - low)


def test_values_that_are_all_the_same_have_no_spread() -> None:
    figures = summarize(np.full(5000, 0.005))
    assert figures.interval_95["mean"] == pytest.approx((0.005, 0.005))
    assert figures.interval_95["p99"] == (0.005, 0.005)


def test_a_disturbance_at_the_very_end_widens_the_interval() -> None:
    steady = np.random.default_rng(1).exponential(1.0, 1000)
    at_the_end, spread = steady.copy(), steady.copy()
    at_the_end[-8:] = 50.0
    spread[::125] = 50.0
    assert summarize(spread).p99 is not None
    assert summarize(at_the_end).p99 is None


@given(st.floats(1, 1e4), st.floats(0.1, 100))
def test_a_rate_is_the_count_over_the_time(per_second: float, seconds: float) -> None:
    times = np.arange(0, seconds, 1 / per_second)[:100_000]
    value, interval = rate(times, seconds)
    assert value == pytest.approx(times.size / seconds)
    if interval is not None:
        assert interval[0] <= value <= interval[1]


def test_a_rate_of_evenly_spaced_answers_is_known_to_one_answer() -> None:
    value, interval = rate(np.arange(0, 20, 0.01) + 0.003, 20.0)
    assert value == pytest.approx(100)
    assert interval == pytest.approx((99.95, 100.05))


@pytest.mark.parametrize("stretch", [250, 500, 1000])
def test_a_median_of_long_stretches_is_somewhere_in_the_middle(stretch: int) -> None:
    """A server that is faster and slower in turns, for a twentieth to a fifth of the phase at a time."""
    n, covered, widths = 5_000, [], []
    truth = 1 - 0.02 * np.log(1 - 0.5 / 0.65)  # where 0.65 (1 - exp(-(x - 1) / 0.02)) is 0.5
    for seed in range(150):
        rng = np.random.default_rng([5, seed])
        slow = np.repeat(rng.random(n) < 0.35, rng.geometric(1 / stretch, n))[:n]
        latency = np.where(slow, 1.3, 1.0) + rng.exponential(0.02, n)
        figures = summarize(latency)
        low, high = figures.interval_95["p50"]
        if high == np.sort(latency)[round(0.95 * n) - 1]:  # no share could be told
            covered.append(low <= truth <= high)
            widths.append(high - low)
    assert len(covered) >= 10 and np.mean(covered) >= 0.97
    assert np.median(widths) < 0.4
