"""Whether the measured phase reached a steady state, and where it began: found, not assumed.

Where it began is found by MSER-5 (White, Simulation 69, 1997): the cut after which the mean is best known.
Its known vices are countered: single outliers are clipped before; a cut is only made where what is cut
differs from what is kept by more than correlated chance, and from its beginning on. After the cut, a line
and a step are fitted to latency over time; the one that fits better says how much latency changed over the
phase, and the spread of what it leaves (`harness.analysis.batches`) whether that may be chance.

Of steady loads (independent, M/M/1 at 0.5 and 0.8, AR(1), regular stalls) at most 5 in 100 are called
unsteady, where the phase is 25 correlation times long or more; of phases of 5 correlation times, 10 are.

A queue that grows needs no test of its own: latency counts from the intended send, and so grows with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.analysis.batches import Cells, Spread, spread, student
from harness.schema.result import SteadyState
from harness.schema.scenario import Validity

Seconds = npt.NDArray[np.float64]

FEWEST = 100
"""Requests under which nothing can be told."""

BATCH, MOST_BATCHES = 5, 5000
"""MSER-5 looks at means of 5 requests; of long phases, at means of more."""

CLIP = 5.0
"""Batch means are clipped at this many robust standard deviations around the median of the second half."""

CHANCE = 1e-3
"""Two-sided level of both tests. Small, because where to cut, and what to fit, is chosen by the data."""

FREEDOM = 7.0
"""Fewest degrees of freedom of both tests. What a trend leaves behind looks like correlation, and would take
all power from the test that looks for it."""

BEGINNING = 0.7
"""An initial transient is farthest off where it begins: over the first half of what is cut, by this share of
how far it is off over the second, or more."""

STEP_WITHIN = (0.2, 0.8)
"""Where a step is looked for, as shares of the phase: a stall at an end is none."""


DRIFT = Validity().drift


def find(latency_s: Seconds, due_s: Seconds, *, limit: float = DRIFT) -> SteadyState:
    """Where the steady state begins. Both in the order the requests were due, from the phase's start.

    Cuts half of the requests at most. A change of latency up to `limit`, over its mean, counts as steady,
    however significant. `steady` is None for fewer than 100 requests.
    """
    if latency_s.size < FEWEST:
        why = f"{latency_s.size} requests are too few to tell; it takes {FEWEST}"
        return SteadyState(steady=None, skipped_requests=0, skipped_s=0.0, why=why)
    size = max(BATCH, -(-latency_s.size // MOST_BATCHES))
    number = latency_s.size // size
    means = latency_s[: number * size].reshape(number, size).mean(axis=1)
    skipped = _transient(_clipped(means)) * size
    drift = _drift(means[skipped // size :], limit)
    skipped_s = float(due_s[skipped] - due_s[0])
    cut = f"after the first {skipped} requests ({skipped_s:.1f} s), " if skipped else ""
    return SteadyState(
        steady=not drift.found,
        skipped_requests=skipped,
        skipped_s=skipped_s,
        why=f"{cut}{drift.words}",
    )


def _clipped(means: Seconds) -> Seconds:
    """Means without outliers, which would make MSER cut up to them."""
    late = means[means.size // 2 :]
    middle = float(np.median(late))
    scale = 1.4826 * float(np.median(np.abs(late - middle))) or float(late.std())
    return np.clip(means, middle - CLIP * scale, middle + CLIP * scale) if scale > 0 else means


def _transient(means: Seconds) -> int:
    """How many of the first means belong to the initial transient: MSER's optimum, if it isn't chance."""
    n = means.size
    half = n // 2
    left = n - np.arange(half + 1)
    # Sums from each mean to the last one, around the middle, so that squares don't cancel.
    around = means - means.mean()
    sums = np.cumsum(around[::-1])[::-1][: half + 1]
    squares = np.cumsum(around[::-1] ** 2)[::-1][: half + 1]
    cut = int(np.argmin((squares - sums**2 / left) / left.astype(np.float64) ** 2))
    if cut == 0 or cut == half:  # at the end of the range there is no optimum: the drift test's to tell
        return 0
    kept = means[cut:]
    found = spread(Cells.of(kept), independent=float(kept.var()) / kept.size)
    if found is None:
        return 0
    away = means[:cut] - float(kept.mean())
    if abs(float(away.mean())) <= _beyond_chance(found) * found.error * math.sqrt(1 + kept.size / cut):
        return 0
    # A transient is farthest off where it begins; a stall or a burst in the first half of the phase isn't.
    begin, end = float(away[: -(-cut // 2)].mean()), float(away[cut // 2 :].mean())
    return cut if abs(begin) >= BEGINNING * abs(end) else 0


def _beyond_chance(found: Spread) -> float:
    """How many standard errors off is more than chance."""
    return student(1 - CHANCE / 2, max(FREEDOM, round(found.freedom, 1)))


@dataclass(frozen=True, slots=True)
class _Drift:
    found: bool
    words: str


def _drift(means: Seconds, limit: float) -> _Drift:
    """Whether latency changed over the phase, by the better of a line and a step."""
    line, step = _line(means), _step(means)
    fit, before, after = min(line, step, key=lambda fitted: float(np.sum((means - fitted[0]) ** 2)))
    shape = "steadily" if fit is line[0] else "by a step"
    rest = means - fit
    found = spread(Cells.of(rest), independent=float(rest.var()) / rest.size)
    change = after - before
    mean = float(means.mean())
    words = f"latency went from {_words(before)} to {_words(after)} over the measured phase"
    if found is None or abs(change) <= limit * abs(mean):
        return _Drift(False, f"{words}: within {limit:.0%} of its mean")
    # A line's change from end to end is less certain than a mean by the root of 12, a step's by that of
    # 1 / (w (1 - w)), where w is where it is.
    if fit is line[0]:
        factor = math.sqrt(12)
    else:
        where = float(np.count_nonzero(fit == before)) / fit.size
        factor = 1 / math.sqrt(where * (1 - where))
    error = found.error * factor
    if abs(change) <= _beyond_chance(found) * error:
        return _Drift(False, f"{words}, which may be chance")
    verb = "grew" if change > 0 else "fell"
    return _Drift(
        True, f"latency {verb} {shape} from {_words(before)} to {_words(after)} over the measured phase"
    )


_Fit = tuple[Seconds, float, float]
"""What is fitted, its value before, and its value after."""


def _line(means: Seconds) -> _Fit:
    at = (np.arange(means.size) + 0.5) / means.size - 0.5
    mean = float(means.mean())
    slope = float(np.dot(at, means) / np.dot(at, at))
    # A line that ends under what was ever seen isn't what latency did.
    least = float(means.min())
    return mean + slope * at, max(least, mean - slope / 2), max(least, mean + slope / 2)


def _step(means: Seconds) -> _Fit:
    n = means.size
    places = np.arange(max(1, int(STEP_WITHIN[0] * n)), int(STEP_WITHIN[1] * n))
    around = means - means.mean()
    below = np.cumsum(around)[places - 1]
    # Sum of squares that a step there explains.
    place = int(places[np.argmax(below**2 / places + below**2 / (n - places))])
    before, after = float(means[:place].mean()), float(means[place:].mean())
    return np.where(np.arange(n) < place, before, after), before, after


def _words(seconds: float) -> str:
    value, unit = (seconds, "s") if seconds >= 1 else (seconds * 1e3, "ms")
    return f"{value:#.3g}".rstrip(".") + f" {unit}"
