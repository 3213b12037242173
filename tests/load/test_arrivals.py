"""Intended send times: how many, in order, in their window, at the right rate, and the same again."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from harness.load.arrivals import draws, schedule, warmup, warmup_load
from harness.schema.errors import InputError
from harness.schema.load import PointLoad
from harness.schema.shapes.ramp import Ramp
from harness.schema.shapes.rate import Rate
from harness.schema.shapes.replay import Replay
from harness.schema.shapes.spike import Spike

HERE = Path(__file__).parent
rates = st.floats(0.5, 2000)


@st.composite
def shapes(draw: st.DrawFn) -> PointLoad:
    arrivals = draw(st.sampled_from(["constant", "poisson", "gamma"]))
    cv = draw(st.floats(0.2, 3)) if arrivals == "gamma" else None
    kind = draw(st.sampled_from(["rate", "ramp", "spike"]))
    if kind == "rate":
        return PointLoad(rate_per_s=draw(rates), arrivals=arrivals, cv=cv)
    if kind == "ramp":
        return PointLoad(ramp=Ramp(from_per_s=draw(rates), to_per_s=draw(rates)), arrivals=arrivals, cv=cv)
    spike = Spike(
        base_per_s=draw(rates),
        peak_per_s=draw(rates),
        at_s=draw(st.floats(0, 30)),
        for_s=draw(st.floats(0.1, 30)),
    )
    return PointLoad(spike=spike, arrivals=arrivals, cv=cv)


def rate_at(load: PointLoad, duration_s: float, at_s: np.ndarray) -> np.ndarray:
    """The rate by its definition, to integrate numerically."""
    shape = load.shape
    if isinstance(shape, Rate):
        return np.full_like(at_s, shape.rate_per_s)
    if isinstance(shape, Ramp):
        return shape.from_per_s + (shape.to_per_s - shape.from_per_s) * at_s / duration_s
    assert isinstance(shape, Spike)
    inside = (at_s >= shape.at_s) & (at_s < shape.at_s + shape.for_s)
    return np.where(inside, shape.peak_per_s, shape.base_per_s)


@given(shapes(), st.floats(3, 20), st.integers(0, 2**32 - 1))
@example(PointLoad(ramp=Ramp(from_per_s=0.5, to_per_s=207.5), arrivals="gamma", cv=3.0), 3.0, 29)
def test_times_are_ordered_in_their_window_and_as_many_as_the_rate_says(
    load: PointLoad, duration_s: float, seed: int
) -> None:
    try:
        times = schedule(load, duration_s, seed, HERE)
    except InputError:
        assert load.arrivals != "constant"  # few arrivals may be none
        return
    assert times.dtype == np.float64 and np.isfinite(times).all()
    assert (np.diff(times) >= 0).all() and times[0] >= 0 and times[-1] < duration_s
    steps = np.linspace(0, duration_s, 200_001)
    expected = np.concatenate([[0], np.cumsum(rate_at(load, duration_s, (steps[1:] + steps[:-1]) / 2))])
    expected *= duration_s / 200_000
    slack = 0.02 * math.sqrt(expected[-1]) + 1.5
    if load.arrivals == "constant":
        # The k-th arrival is where the cumulative rate reaches k, everywhere in the window.
        assert np.abs(np.interp(times, steps, expected) - np.arange(len(times))).max() < slack
        assert abs(len(times) - expected[-1]) < slack
    else:
        cv = load.cv or 1.0
        # The number of a renewal process's points has about cv² times the variance of a Poisson process's,
        # and its first gap makes it more.
        assert abs(len(times) - expected[-1]) < 6 * cv * math.sqrt(expected[-1]) + 3 + 20 * cv**2
    assert (schedule(load, duration_s, seed, HERE) == times).all()


def test_constant_spacing_is_exact() -> None:
    times = schedule(PointLoad(rate_per_s=50, arrivals="constant"), 2.0, 1, HERE)
    assert times == pytest.approx(np.arange(100) / 50, abs=1e-12)


@pytest.mark.parametrize(
    "load",
    [
        PointLoad(rate_per_s=400, arrivals="poisson"),
        PointLoad(ramp=Ramp(from_per_s=50, to_per_s=800), arrivals="poisson"),
        PointLoad(spike=Spike(base_per_s=100, peak_per_s=900, at_s=8, for_s=5), arrivals="poisson"),
    ],
)
def test_poisson_gaps_are_exponential_where_the_rate_is_one(load: PointLoad) -> None:
    """After the change of time that makes the rate 1, the gaps must be Exp(1) and independent."""
    times = schedule(load, 30.0, 7, HERE)
    steps = np.linspace(0, 30, 600_001)
    cumulative = np.concatenate([[0], np.cumsum(rate_at(load, 30, (steps[1:] + steps[:-1]) / 2))]) * 30 / 6e5
    gaps = np.diff(np.interp(times, steps, cumulative))
    assert stats.kstest(gaps, "expon").pvalue > 0.01
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 4 / math.sqrt(len(gaps))


@pytest.mark.parametrize("cv", [0.3, 1.0, 1.7])
@pytest.mark.parametrize(
    "shape",
    [
        {"rate_per_s": 1000},
        {"ramp": Ramp(from_per_s=100, to_per_s=2000)},
        {"spike": Spike(base_per_s=300, peak_per_s=2000, at_s=20, for_s=10)},
    ],
    ids=["rate", "ramp", "spike"],
)
def test_gamma_gaps_are_gamma_distributed_where_the_rate_is_one(shape: dict[str, Any], cv: float) -> None:
    load = PointLoad(**shape, arrivals="gamma", cv=cv)
    times = schedule(load, 60.0, 7, HERE)
    steps = np.linspace(0, 60, 1_200_001)
    cumulative = (
        np.concatenate([[0], np.cumsum(rate_at(load, 60, (steps[1:] + steps[:-1]) / 2))]) * 60 / 1.2e6
    )
    gaps = np.diff(np.interp(times, steps, cumulative))
    assert stats.kstest(gaps, stats.gamma(cv**-2, scale=cv**2).cdf).pvalue > 0.01
    assert gaps.mean() == pytest.approx(1, abs=4 * cv / math.sqrt(len(gaps)))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 4 / math.sqrt(len(gaps))


def test_gamma_arrivals_of_cv_1_are_distributed_as_poisson_ones() -> None:
    gamma = schedule(PointLoad(rate_per_s=1000, arrivals="gamma", cv=1.0), 60, 3, HERE)
    poisson = schedule(PointLoad(rate_per_s=1000, arrivals="poisson"), 60, 4, HERE)
    assert stats.ks_2samp(np.diff(gamma), np.diff(poisson)).pvalue > 0.01
    for times in (gamma, poisson):
        counts = np.histogram(times, bins=600)[0]
        assert counts.var() / counts.mean() == pytest.approx(1, abs=0.25)


def test_a_larger_cv_comes_in_bursts() -> None:
    def dispersion(cv: float) -> float:
        """Variance over mean of the arrivals in a tenth of a second, which tends to cv²."""
        times = schedule(PointLoad(rate_per_s=1000, arrivals="gamma", cv=cv), 120, 5, HERE)
        counts = np.histogram(times, bins=1200)[0]
        return float(counts.var() / counts.mean())

    assert dispersion(0.3) == pytest.approx(0.09, rel=0.25)
    assert dispersion(3.0) == pytest.approx(9, rel=0.25)


OPEN_LOOPS = [{"arrivals": "constant"}, {"arrivals": "poisson"}, {"arrivals": "gamma", "cv": 2.0}]


@pytest.mark.parametrize("how", OPEN_LOOPS, ids=lambda how: how["arrivals"])
def test_a_longer_schedule_begins_with_the_shorter_one(how: dict[str, Any]) -> None:
    load = PointLoad(rate_per_s=5000, **how)
    short, long = schedule(load, 10, 1, HERE), schedule(load, 100, 1, HERE)
    assert (long[: len(short)] == short).all()
    assert long[len(short)] >= 10


@pytest.mark.parametrize(
    ("how", "first", "count", "last"),
    [
        ({"arrivals": "constant"}, [0.0, 0.01, 0.02], 1000, 9.99),
        (
            {"arrivals": "poisson"},
            [0.010730290263725, 0.013814821704978, 0.067569190431059],
            991,
            9.997464462856,
        ),
        (
            {"arrivals": "gamma", "cv": 2.0},
            [0.0027449504903806, 0.071663803210603, 0.072948384540202],
            968,
            9.97423991194,
        ),
    ],
    ids=lambda value: value.get("arrivals") if isinstance(value, dict) else "",
)
def test_a_seeds_times_are_the_same_in_every_version(
    how: dict[str, Any], first: list[float], count: int, last: float
) -> None:
    """A scenario's load is part of its identity: a new version must not draw other times for it."""
    times = schedule(PointLoad(rate_per_s=100, **how), 10, 1, HERE)
    assert times[:3] == pytest.approx(first, rel=1e-12)
    assert (len(times), times[-1]) == (count, pytest.approx(last, rel=1e-12))


def test_seeds_differ() -> None:
    for how in OPEN_LOOPS[1:]:
        load = PointLoad(rate_per_s=100, **how)
        assert len(np.intersect1d(schedule(load, 5, 1, HERE), schedule(load, 5, 2, HERE))) == 0


def test_a_load_without_an_arrival_or_with_too_many_is_refused() -> None:
    with pytest.raises(InputError, match="no arrival within 1 s"):
        schedule(PointLoad(replay=Replay(file="late.txt")), 1, 1, _written("late.txt", "5\n6\n"))
    with pytest.raises(InputError, match="at most 10,000,000"):
        schedule(PointLoad(rate_per_s=1e6, arrivals="constant"), 60, 1, HERE)


_folder = Path()


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path) -> None:
    global _folder
    _folder = tmp_path


def _written(name: str, text: str) -> Path:
    (_folder / name).write_bytes(text.encode("latin-1"))
    return _folder


def replay(file: str, text: str, duration_s: float = 10.0) -> np.ndarray:
    return schedule(PointLoad(replay=Replay(file=file)), duration_s, 1, _written("times.txt", text))


def test_a_replay_gives_the_file_up_to_the_phases_end() -> None:
    assert replay("times.txt", "# s\n0\n 0.5 \n\n0.5\n1e0\n9.99\n10\n11").tolist() == [0, 0.5, 0.5, 1, 9.99]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\n1\nx\n", "line 3: 'x' is not a time in seconds"),
        ("0\n2\n1\n", r"line 3: 1 comes before the line above it \(2\)"),
        ("-1\n", "line 1: -1 is not a time"),
        ("0\nnan\n", "line 2: nan is not a time"),
        ("0\ninf\n", "line 2: inf is not a time"),
        ("", "no times in it"),
        ("\xff\xfe0\n", "not a text file"),
        ("9" * 5000, "line 1: "),
    ],
)
def test_a_wrong_replay_file_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replay("times.txt", text)


@pytest.mark.parametrize("file", ["../times.txt", "/etc/hostname", "a/../../times.txt", "link.txt"])
def test_a_replay_file_outside_of_the_scenarios_folder_is_refused(file: str) -> None:
    base = _folder / "scenarios"
    base.mkdir()
    (_folder / "times.txt").write_text("0\n")
    (base / "link.txt").symlink_to(_folder / "times.txt")
    with pytest.raises(InputError, match="leaves the scenario's folder"):
        schedule(PointLoad(replay=Replay(file=file)), 1, 1, base)


def test_a_replay_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"can't be read \(No such file or directory\)"):
        schedule(PointLoad(replay=Replay(file="no.txt")), 1, 1, _folder)


@pytest.mark.parametrize("how", OPEN_LOOPS, ids=lambda how: how["arrivals"])
def test_a_warm_up_in_which_nothing_is_due_has_one_request(how: dict[str, Any]) -> None:
    """Chance has none at all in one of forty warm-ups of 0.3 s at 12/s."""
    counts = [len(warmup(PointLoad(rate_per_s=12, **how), 0.3, seed)) for seed in range(400)]
    assert min(counts) >= 1 and max(counts) > 3
    assert warmup(PointLoad(rate_per_s=0.001, **how), 0.3, 1).tolist() == [0.0]


def test_warm_up_has_the_loads_own_first_rate() -> None:
    def rate(**load: Any) -> float | None:
        return warmup_load(PointLoad(**load), np.arange(0, 10, 0.1), 10).shape.nominal_rate_per_s

    assert rate(rate_per_s=5, arrivals="poisson") == 5
    assert rate(ramp=Ramp(from_per_s=3, to_per_s=9)) == 3
    assert rate(spike=Spike(base_per_s=4, peak_per_s=9, at_s=1, for_s=1)) == 4
    assert rate(spike=Spike(base_per_s=4, peak_per_s=9, at_s=0, for_s=1)) == 4
    assert rate(replay=Replay(file="x")) == pytest.approx(10, rel=0.02)


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_classes_are_drawn_by_weight_and_the_same_again(weights: list[float], seed: int) -> None:
    variants = [1 + i for i in range(len(weights))]
    drawn = list(itertools.islice(draws(weights, variants, seed), 4000))
    assert drawn == list(itertools.islice(draws(weights, variants, seed), 4000))
    share = np.array(weights) / sum(weights)
    counts = np.bincount([c for c, _ in drawn], minlength=len(weights))
    assert (np.abs(counts - 4000 * share) <= 6 * np.sqrt(4000 * share * (1 - share)) + 1).all()
    assert all(0 <= variant < variants[c] for c, variant in drawn)
    if counts[-1] > 300:
        assert {v for c, v in drawn if c == len(weights) - 1} == set(range(variants[-1]))
