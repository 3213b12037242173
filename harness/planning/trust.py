"""How far a prediction can be trusted: it is held against what was measured at rates.

For each measured rate there is a scale of all service times at which the simulation gives just the latency
that was measured. Where the model is right, these scales are 1 but for chance and for the moment; what they
are on average corrects the prediction, and how they scatter is how far off it may be, at any rate. Latency
itself would tell less: near saturation a few percent of service time are a multiple of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis.batches import student
from harness.planning.demand import Demand
from harness.planning.replica import Replica, served
from harness.planning.service_times import Floats, ServiceTimes, Unknown
from harness.simulation.batcher import Batcher, Kinds

FEWEST = 3
"""Fewer measured rates don't say how far off a prediction may be."""

ENOUGH = 5
"""So many rates of a configuration itself say more of it than those of others do."""

WIDEST = 3.0
"""A scale is looked for between this and its inverse; beyond, the simulation has another model."""

CLOSE = 1.005


@dataclass(frozen=True, slots=True)
class Measurement:
    """Latency that was measured at a request rate, of one replica."""

    point: str
    batcher: Batcher
    demand: Demand
    rate_per_s: float
    due_s: Floats
    """When its requests were due, ascending: simulated is the very same schedule."""
    kinds: Kinds
    """Which kind each of them is of."""
    share: float
    """Of requests that were at or under `latency_s`."""
    latency_s: float


@dataclass(frozen=True, slots=True)
class Check:
    """A measurement beside what the others of its kind predict of it."""

    measurement: Measurement
    scale: float
    """Of service times, at which the simulation gives what was measured."""
    predicted_s: float
    low_s: float
    high_s: float
    """A 95% prediction interval."""

    @property
    def held(self) -> bool:
        """Whether the interval has the measured value in it."""
        return self.low_s <= self.measurement.latency_s <= self.high_s


@dataclass(frozen=True, slots=True)
class Trust:
    """What the checks come to."""

    scale: float
    """What corrects the service times."""
    factor: float
    """They may be so many times as long, or as short: a 95% prediction interval for another moment."""
    deviation: float
    """Standard deviation of the scales' logarithms."""
    checks: tuple[Check, ...]

    def after(self, more: int) -> float:
        """What `factor` would be after so many more measurements like these."""
        return _factor(self.deviation, len(self.checks) + more)


def measured_like(batcher: Batcher, measurements: Sequence[Measurement]) -> Sequence[Measurement]:
    """What a prediction for this batcher and these instances is held against: its own measurements, or all
    where it has few. How far off the simulation is depends on how many instances share a processor."""
    own = [each for each in measurements if each.batcher == batcher]
    return own if len(own) >= ENOUGH else measurements


def trust(times: ServiceTimes, measurements: Sequence[Measurement]) -> Trust:
    """Raises Unknown where too few rates were measured, or the simulation is far from what was measured."""
    scales = [_scale(times, each) for each in measurements]
    known = [(each, scale) for each, scale in zip(measurements, scales, strict=True) if scale is not None]
    if len(known) < FEWEST:
        rates = "1 rate" if len(scales) == 1 else f"{len(scales)} rates"
        beyond = len(scales) - len(known)
        far = f", and at {beyond} of them the simulation can't give it" if beyond else ""
        raise Unknown(f"latency was measured at {rates}{far}; how far a prediction is right takes {FEWEST}")
    logs = np.log([scale for _, scale in known])
    deviation = float(logs.std(ddof=1))
    checks = []
    for number, (measurement, scale) in enumerate(known):
        others = np.delete(logs, number)
        spread = float(others.std(ddof=1)) if len(others) > 1 else deviation
        middle, off = math.exp(float(others.mean())), _factor(spread, len(others))

        def latency_s(scale: float, each: Measurement = measurement) -> float:
            return _latency_s(times, each, scale)

        predicted, low, high = (latency_s(at) for at in (middle, middle / off, middle * off))
        checks.append(Check(measurement, scale, predicted, low, high))
    return Trust(math.exp(float(logs.mean())), _factor(deviation, len(logs)), deviation, tuple(checks))


def _factor(deviation: float, count: int) -> float:
    """Of a 95% prediction interval, by Student's t."""
    return (
        math.exp(student(0.975, count - 1) * deviation * math.sqrt(1 + 1 / count)) if count > 1 else math.inf
    )


def _latency_s(times: ServiceTimes, measured: Measurement, scale: float) -> float:
    if not math.isfinite(scale):
        return math.inf
    replica = Replica(measured.batcher, times, measured.demand).scaled(scale)
    latency, _, _ = served(replica, measured.due_s, measured.kinds)
    return float(np.quantile(latency, measured.share, method="inverted_cdf"))


def _scale(times: ServiceTimes, measured: Measurement) -> float | None:
    def over(scale: float) -> bool:
        return _latency_s(times, measured, scale) > measured.latency_s

    return crossing(over, 1 / WIDEST, WIDEST)


def crossing(over: Callable[[float], bool], low: float, high: float) -> float | None:
    """Where `over` becomes true, between two ends that are at most `CLOSE` apart in the end; None where it is
    so at the low one, or isn't at the high one."""
    if over(low) or not over(high):
        return None
    while high / low > CLOSE:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if over(middle) else (middle, high)
    return math.sqrt(low * high)
