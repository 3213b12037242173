"""What capacity each configuration may have, before it is measured.

How long an instance takes for a batch depends on the size of the batch and on how the model is computed (its
instances, threads, provider, dtype): that is learned from every measurement, by likeness. What Triton's
batcher then makes of it, with `max_batch` and a queue delay, is no matter of likeness: it is simulated. Where
measurements disagree with the simulation, the disagreement is learned too.

It only proposes. No configuration leaves the race because of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from harness.schema.point import Setting
from harness.simulation.batcher import Batcher, completions
from harness.simulation.largest_rate import largest_rate
from harness.tuning.capacity import NEARLY
from harness.tuning.likeness import Floats, predict
from harness.tuning.space import Space, coordinates

MAX_BATCH, DELAY, INSTANCES = "server.max_batch", "server.queue_delay_us", "server.instances"
PREFERRED = "server.preferred_batch"
OF_BATCHER = (MAX_BATCH, DELAY, PREFERRED)
"""Settings that decide which batches there are, and not how long one takes."""

REQUESTS = 1000
"""In each simulation."""

SERVICE_DEVIATION, CAPACITY_DEVIATION = 0.4, 0.15
"""By how much the logarithm of a service time changes over the range of a setting, and by how much that of a
capacity may be off the simulation's, about."""

FIXED = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0)
"""What a batch takes however small it is, in inferences' worth of time: the one of these that suits best what
was measured."""

SERVICE_CV = 0.1
"""Coefficient of variation of the service times of a batch."""

NOTHING_KNOWN = 10.0
"""Standard deviation of the logarithm of a capacity while nothing was measured."""

SURE_OF_SERVICE = 0.1
"""Under this standard deviation of its logarithm, a capacity is as uncertain as the service time."""

LEAST = 0.02
"""Share of what is served at saturation under which no capacity is told from none."""

CLOSE = 1.03
"""A capacity is foreseen when a rate that holds and one that doesn't are no further apart."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is sent, and what must hold."""

    limits: Mapping[float, float]
    """Largest latency in seconds, by the share of requests that must be at or under it."""
    size: int = 1
    """Inferences in a request."""
    gap_cv: float = 1.0
    """Coefficient of variation of the gaps between arrivals: 0 constant, 1 Poisson."""


@dataclass(frozen=True, slots=True)
class Execution:
    """How long an instance was taken by a batch of so many inferences, on average."""

    configuration: int
    batch: float
    seconds: float


@dataclass
class Foresight:
    """Predictions for the configurations of a space."""

    space: Space
    workload: Workload
    fixed: Mapping[str, Setting]
    """Values of settings that don't vary."""
    executions: list[Execution] = field(default_factory=list)
    _simulated: dict[int, tuple[Floats, float]] = field(default_factory=dict)
    """By configuration: the service times that it was simulated with, and its capacity then."""
    _at_best: dict[int, tuple[Floats, float]] = field(default_factory=dict)
    _doubts: dict[int, float] = field(default_factory=dict)

    def learn(self, execution: Execution) -> None:
        self.executions.append(execution)

    def instances(self, number: int) -> int:
        """How many instances a configuration has."""
        return self._setting(number, INSTANCES, 1)

    def kind(self, number: int) -> frozenset[tuple[object, ...]]:
        """How a configuration is computed, as pairs of values of two settings; of a single setting, its
        value."""
        settings = self.space.configurations[number]
        values = [(path, value) for path, value in settings.items() if path not in OF_BATCHER]
        return frozenset(itertools.combinations(values, min(2, len(values)) or 1))

    def capacities(
        self, known: Mapping[int, tuple[float, float]], *, anew: int | None = None
    ) -> tuple[Floats, Floats]:
        """Logarithm of each configuration's capacity in requests a second, and its standard deviation.

        `known`: logarithm and standard error of the capacities that were measured. `anew`: the only one that
        is simulated again with what was learned meanwhile, because simulations take time; None: each. While
        no execution was learned, nothing is foreseen.
        """
        if not self.executions:
            nothing = np.zeros(len(self.space.configurations))
            return nothing, nothing + NOTHING_KNOWN
        foreseen, doubt = self._foreseen(anew)
        if not known:
            return foreseen, doubt
        at = np.fromiter(known, dtype=np.int64)
        off = np.array([value for value, _ in known.values()]) - foreseen[at]
        errors = np.array([error for _, error in known.values()])
        features = self.space.features
        more, deviation = predict(features, features[at], off, errors, deviation=CAPACITY_DEVIATION)
        return foreseen + more, np.hypot(deviation, doubt * (1 - np.isin(np.arange(doubt.size), at)))

    def _foreseen(self, anew: int | None) -> tuple[Floats, Floats]:
        """By simulation alone, and how uncertain the service times leave it."""
        sizes = [self._sizes(number) for number in range(len(self.space.configurations))]
        batches = np.concatenate(sizes)
        places = np.concatenate([self._places(n, each) for n, each in enumerate(sizes)])
        known = np.concatenate([self._places(e.configuration, [e.batch]) for e in self.executions])
        fixed = self._fixed()
        usual = np.log([fixed + e.batch for e in self.executions])
        logs, deviations = predict(
            places,
            known,
            np.log([e.seconds for e in self.executions]) - usual,
            np.full(len(self.executions), 0.05),
            deviation=SERVICE_DEVIATION,
            apart=1,
        )
        logs = logs + np.log(fixed + batches)
        found, doubt, begin = [], [], 0
        for number, each in enumerate(sizes):
            here = slice(begin, begin + len(each))
            begin = here.stop
            if anew in (None, number) or number not in self._simulated:
                capacity = self._capacity(number, each, np.exp(logs[here]), self._simulated)
                sure = float(deviations[here].max()) < SURE_OF_SERVICE
                quick = np.exp(logs[here] - 2 * deviations[here])
                at_best = capacity * float((np.exp(logs[here]) / quick).max()) if sure else 0.0
                at_best = at_best or self._capacity(number, each, quick, self._at_best)
                self._doubts[number] = math.log(max(at_best / capacity, 1.02)) / 2
            found.append(math.log(self._simulated[number][1]))
            doubt.append(self._doubts[number])
        return np.array(found), np.array(doubt)

    def _capacity(
        self, number: int, batches: Sequence[int], times: Floats, before: dict[int, tuple[Floats, float]]
    ) -> float:
        known = before.get(number)
        if known is not None and np.allclose(known[0], times, rtol=0.05):
            return known[1]
        near = known[1] if known is not None else None
        found = simulated_capacity(self.batcher(number), batches, times, self.workload, near=near)
        before[number] = times, found
        return found

    def _fixed(self) -> float:
        """How many inferences the part of a batch's time is worth that doesn't grow with it: such that, of
        each way to compute, the times over it vary the least."""
        ways: dict[bytes, list[Execution]] = {}
        for each in self.executions:
            ways.setdefault(self._how[each.configuration].tobytes(), []).append(each)

        def variation(fixed: float) -> float:
            spread = 0.0
            for group in ways.values():
                logs = np.log([e.seconds / (fixed + e.batch) for e in group])
                spread += float(((logs - logs.mean()) ** 2).sum())
            return spread

        # Where each was seen with one batch only, nothing tells, and the first is taken.
        return min((2.0, *FIXED), key=variation)

    def _setting(self, number: int, path: str, default: int) -> int:
        value = self.space.configurations[number].get(path, self.fixed.get(path, default))
        assert isinstance(value, int)
        return value

    def batcher(self, number: int) -> Batcher:
        return Batcher(
            max_batch=self._setting(number, MAX_BATCH, 1),
            queue_delay_s=self._setting(number, DELAY, 0) / 1e6,
            instances=self.instances(number),
            preferred=(preferred,) if (preferred := self._setting(number, PREFERRED, 0)) else (),
            sizes=(self.workload.size,),
        )

    def _sizes(self, number: int) -> tuple[int, ...]:
        """Batches, in inferences, of which the service time is asked: powers of two up to the largest."""
        size, most = self.workload.size, max(self.workload.size, self._setting(number, MAX_BATCH, 1))
        found = [size]
        while found[-1] * 2 < most:
            found.append(found[-1] * 2)
        return tuple(dict.fromkeys((*found, most)))

    def _places(self, number: int, batches: Sequence[float]) -> Floats:
        """[batches, coordinates]: how it is computed, and the logarithm of the batch, 1 for each factor 8."""
        how = np.tile(self._how[number], (len(batches), 1))
        return np.column_stack([how, np.log(batches) / math.log(8)])

    @cached_property
    def _how(self) -> Floats:
        return coordinates(self.space.configurations, without=OF_BATCHER)


def simulated_capacity(
    batcher: Batcher, batches: Sequence[int], times: Floats, workload: Workload, *, near: float | None = None
) -> float:
    """Largest rate, requests a second, at which the limits hold in a simulation, or the least looked at.

    `times`: seconds of service for each of `batches`, interpolated between them. `near`: where it may be.
    """
    service = np.interp(np.arange(batcher.max_batch + 1), batches, times)
    rng = np.random.default_rng(1)
    noise = np.exp(SERVICE_CV * rng.standard_normal(REQUESTS) - SERVICE_CV**2 / 2).tolist()
    gaps = _gaps(workload.gap_cv, rng)
    most = batcher.instances * batcher.max_batch / workload.size / float(service[-1])

    def holds(rate: float) -> bool:
        draws = iter(noise)
        due = gaps / rate
        took = completions(due, batcher, lambda b: service[b] * next(draws)) - due
        ordered = np.sort(took[REQUESTS // 10 :])
        return all(
            ordered[math.ceil(share * ordered.size) - 1] <= limit for share, limit in workload.limits.items()
        )

    found = largest_rate(holds, LEAST * most, NEARLY * most, close=CLOSE, near=near)
    return math.sqrt(math.prod(found)) if found else LEAST * most


def _gaps(cv: float, rng: np.random.Generator) -> Floats:
    """Arrival times of `REQUESTS` at one a second."""
    if cv == 0:
        return np.arange(1.0, REQUESTS + 1)
    return np.cumsum(rng.gamma(cv**-2, cv**2, REQUESTS))
