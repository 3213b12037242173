"""When each request should be sent, and of which class it is: fixed beforehand, the same for the same seed.

An open loop's times come from the inverse of the cumulative rate L(t): constant spacing takes L's inverse at
0, 1, 2, …; Poisson and gamma take it at the points of a renewal process of rate 1 whose gaps are exponential
or gamma distributed (time change, e.g. Çınlar 1975). A longer schedule begins with the shorter one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.confined import confined
from harness.schema.errors import InputError
from harness.schema.load import PointLoad
from harness.schema.quantities import MOST_PER_S
from harness.schema.shapes.profile import GivenTimes, RateOverTime, RecordedTimes
from harness.schema.shapes.rate import Rate

Times = npt.NDArray[np.float64]

MOST_ARRIVALS = 10_000_000
_DRAWS_AT_ONCE = 1 << 16


def schedule(load: PointLoad, duration_s: float, seed: int, base_dir: Path) -> Times:
    """Intended send times of an open loop, in seconds from the phase's start, ascending, in [0, duration_s).

    `base_dir` is the scenario's folder, for the file of a replay. Raises InputError for a file that can't be
    replayed, for a load without a single arrival and for one with more than 10 million.
    """
    match load.shape.profile(duration_s):
        case RateOverTime() as profile:
            times = _spaced(_CumulativeRate.of(profile), load, seed)
        case RecordedTimes(file, key):
            times = recorded(file, key, base_dir)
        case GivenTimes(seconds):
            times = _given(seconds, load)
    times = times[times < duration_s]
    if not len(times):
        raise InputError(
            f"the load ({load.label}) has no arrival within {duration_s:g} s: "
            "raise its rate or measure.duration_s"
        )
    return times


def warmup(load: PointLoad, duration_s: float, seed: int) -> Times:
    """The same for a warm-up, by what `warmup_load` gives. Where chance has no arrival there, or the rate is
    too low for one, a single request warms up, at the start."""
    profile = load.shape.profile(duration_s)
    assert isinstance(profile, RateOverTime)
    times = _spaced(_CumulativeRate.of(profile), load, seed)
    times = times[times < duration_s]
    return times if len(times) else np.zeros(1)


def warmup_load(load: PointLoad, times: Times, duration_s: float) -> PointLoad:
    """What warms up an open loop: the rate that it begins with; where it gives times, their mean rate.

    `times` is the schedule of the measured phase, of `duration_s`.
    """
    profile = load.shape.profile(duration_s)
    rate = profile.segments[0].first_per_s if isinstance(profile, RateOverTime) else 0.0
    rate = rate or len(times) / max(float(times[-1]), 1.0)
    steady = Rate(rate_per_s=min(rate, MOST_PER_S))
    return PointLoad(shape=steady, arrivals=load.arrivals or "constant", cv=load.cv)


def draws(
    weights: Sequence[float], variants: Sequence[int], seed: int, first: int = 0, every: int = 1
) -> Iterator[tuple[int, int]]:
    """Endless (class, variant): the class by weight, then one of its `variants` payloads, each as likely.

    These are the draws number `first`, `first + every`, …: so `every` processes take what one would take.
    """
    rng = np.random.default_rng([seed, 1])
    share = np.asarray(weights, dtype=np.float64)
    share /= share.sum()
    sizes = np.asarray(variants)
    while True:
        classes = rng.choice(len(share), size=_DRAWS_AT_ONCE, p=share)
        chosen = rng.integers(0, sizes[classes])
        yield from zip(classes[first::every].tolist(), chosen[first::every].tolist(), strict=True)
        first = (first - _DRAWS_AT_ONCE) % every


@dataclass(frozen=True, slots=True)
class _CumulativeRate:
    """A rate that is linear within each segment: the cumulative count at the segments' ends, and inverse."""

    ends_s: Times
    rates: Times
    """(segments, 2): at the segment's begin and end, per second."""

    @classmethod
    def of(cls, profile: RateOverTime) -> _CumulativeRate:
        return cls(
            np.array([each.end_s for each in profile.segments]),
            np.array([(each.first_per_s, each.last_per_s) for each in profile.segments]),
        )

    @property
    def starts_s(self) -> Times:
        return np.concatenate([[0.0], self.ends_s[:-1]])

    @property
    def counts(self) -> Times:
        """Arrivals up to each segment's begin, and then in all."""
        of_each = (self.ends_s - self.starts_s) * self.rates.mean(axis=1)
        return np.concatenate([[0.0], np.cumsum(of_each)])

    @property
    def total(self) -> float:
        return float(self.counts[-1])

    def when(self, counts: Times) -> Times:
        """The time at which the cumulative count reaches each of `counts`."""
        which = np.searchsorted(self.counts[1:-1], counts, side="right")
        start, length = self.starts_s[which], (self.ends_s - self.starts_s)[which]
        first, last = self.rates[which, 0], self.rates[which, 1]
        beyond = counts - self.counts[which]
        slope = np.divide(last - first, length, out=np.zeros_like(length), where=length > 0)
        # The root of first·t + slope·t²/2 = beyond, in the form that is also exact for slope 0.
        root = np.sqrt(np.maximum(first**2 + 2 * slope * beyond, 0.0))
        # Where the rate begins at 0, and nothing is beyond yet, it is 0 over 0.
        within = np.divide(2 * beyond, first + root, out=np.zeros_like(beyond), where=first + root > 0)
        times: Times = start + within
        # Of two counts that are nearly the same, rounding may give the later one the earlier time.
        return np.maximum.accumulate(times)


def _spaced(rate: _CumulativeRate, load: PointLoad, seed: int) -> Times:
    """The arrivals of `rate`, spaced as the load says."""
    if rate.total > MOST_ARRIVALS:
        raise InputError(
            f"the load makes {rate.total:.3g} requests, and a phase has at most {MOST_ARRIVALS:,}: "
            "lower the rate, measure.duration_s or measure.at_most_s"
        )
    if load.arrivals == "poisson":
        counts = _renewals(rate.total, 1.0, seed)
    elif load.arrivals == "gamma":
        counts = _renewals(rate.total, load.cv or 1.0, seed)
    else:
        counts = np.arange(math.ceil(rate.total - 1e-9), dtype=np.float64)
    return rate.when(counts)


def _renewals(total: float, cv: float, seed: int) -> Times:
    """Points in [0, total) whose gaps are independent, of mean 1 and coefficient of variation `cv`.

    1 is a Poisson process. The gaps are gamma distributed with shape 1/cv².
    """
    rng = np.random.default_rng([seed, 0])
    gaps: list[Times] = []
    while True:
        size = _DRAWS_AT_ONCE  # always the same, so that a longer schedule draws the same first gaps
        gaps.append(rng.exponential(size=size) if cv == 1.0 else rng.gamma(cv**-2, cv**2, size=size))
        if sum(map(len, gaps)) >= total and (points := np.cumsum(np.concatenate(gaps)))[-1] >= total:
            return points[points < total]


def _given(seconds: Sequence[float], load: PointLoad) -> Times:
    times = np.array(seconds, dtype=np.float64)
    good = times.ndim == 1 and np.isfinite(times).all() and (np.diff(times, prepend=0.0) >= 0).all()
    if not good:
        raise InputError(
            f"the load ({load.label}) gives times that aren't seconds from the start in ascending order: "
            "change its values, or mend the package that adds its shape"
        )
    if len(times) > MOST_ARRIVALS:
        raise InputError(
            f"the load gives {len(times):,} times, and a phase has at most {MOST_ARRIVALS:,}: give fewer"
        )
    return times


def recorded(file: str, key: str, base_dir: Path) -> Times:
    """The times in a replay's file. Blank lines and lines that begin with # are passed over."""
    path = confined(base_dir, file, f"{key} {file!r}")
    times: list[float] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if number > MOST_ARRIVALS:
                    raise InputError(f"{file} has more than {MOST_ARRIVALS:,} lines: replay a part of it")
                text = line.strip()
                if text and not text.startswith("#"):
                    times.append(_time(file, number, text, times[-1] if times else 0.0))
    except OSError as error:
        raise InputError(f"the replay file {path} can't be read ({error.strerror}): check {key}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not a text file: give one time in seconds per line") from error
    if not times:
        raise InputError(f"{file} has no times in it: give one time in seconds per line")
    return np.array(times)


def _time(file: str, number: int, text: str, before: float) -> float:
    try:
        value = float(text)
    except ValueError:
        shown = text if len(text) <= 40 else text[:40] + "…"
        raise InputError(f"{file} line {number}: {shown!r} is not a time in seconds: give a number") from None
    if not math.isfinite(value) or value < 0:
        raise InputError(
            f"{file} line {number}: {text} is not a time in seconds from the start: "
            "give a finite number, 0 or more"
        )
    if value < before:
        raise InputError(
            f"{file} line {number}: {value:g} comes before the line above it ({before:g}): sort the times"
        )
    return value
