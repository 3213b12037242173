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
from harness.schema.point import PointLoad

Times = npt.NDArray[np.float64]

MOST_ARRIVALS = 10_000_000
_DRAWS_AT_ONCE = 1 << 16


def schedule(load: PointLoad, duration_s: float, seed: int, base_dir: Path) -> Times:
    """Intended send times of an open loop, in seconds from the phase's start, ascending, in [0, duration_s).

    `base_dir` is the scenario's folder, for the file of a replay. Raises InputError for a file that can't be
    replayed, for a load without a single arrival and for one with more than 10 million.
    """
    if load.replay is not None:
        times = _recorded(load.replay.file, base_dir)
        times = times[times < duration_s]
    else:
        rate = _Rate.of(load, duration_s)
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
        times = rate.when(counts)
        times = times[times < duration_s]
    if not len(times):
        raise InputError(
            f"the load ({load.label}) has no arrival within {duration_s:g} s: "
            "raise its rate or measure.duration_s"
        )
    return times


def warmup_load(load: PointLoad, times: Times) -> PointLoad:
    """What warms up an open loop: its own rate; of a ramp or spike the first; of a replay its mean.

    `times` is the schedule of the measured phase.
    """
    if load.rate_per_s is not None:
        return load
    if load.ramp is not None:
        rate = load.ramp.from_per_s
    elif load.spike is not None:
        rate = load.spike.base_per_s
    else:
        rate = len(times) / max(float(times[-1]), 1.0)
    return PointLoad(rate_per_s=rate, arrivals=load.arrivals or "constant", cv=load.cv)


def draws(
    weights: Sequence[float], variants: Sequence[int], seed: int, first: int = 0, every: int = 1
) -> Iterator[tuple[int, int]]:
    """Endless (class, variant): the class by weight, then one of its `variants` payloads, each as likely.

    Of all draws, number `first`, `first + every`, …: what `every` processes take is then what one would.
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
class _Rate:
    """A rate that is linear within each segment: the cumulative count at the segments' ends, and inverse."""

    ends_s: Times
    rates: Times
    """(segments, 2): at the segment's begin and end, per second."""

    @classmethod
    def of(cls, load: PointLoad, duration_s: float) -> _Rate:
        if load.rate_per_s is not None:
            segments = [(duration_s, load.rate_per_s, load.rate_per_s)]
        elif load.ramp is not None:
            segments = [(duration_s, load.ramp.from_per_s, load.ramp.to_per_s)]
        elif load.spike is not None:
            spike = load.spike
            start = min(spike.at_s, duration_s)
            stop = min(spike.at_s + spike.for_s, duration_s)
            segments = [
                (start, spike.base_per_s, spike.base_per_s),
                (stop, spike.peak_per_s, spike.peak_per_s),
                (duration_s, spike.base_per_s, spike.base_per_s),
            ]
        else:
            raise ValueError("a closed loop has no schedule")
        return cls(np.array([s[0] for s in segments]), np.array([s[1:] for s in segments]))

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
        times: Times = start + 2 * beyond / (first + root)
        # Of two counts that are nearly the same, rounding may give the later one the earlier time.
        return np.maximum.accumulate(times)


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


def _recorded(file: str, base_dir: Path) -> Times:
    """The times in a replay's file. Blank lines and lines that begin with # are passed over."""
    path = confined(base_dir, file, f"load.replay.file {file!r}")
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
        raise InputError(
            f"the replay file {path} can't be read ({error.strerror}): check load.replay.file"
        ) from error
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
