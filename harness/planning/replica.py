"""Replicas at a request rate, simulated: latency, utilization, the largest rate that holds an objective."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from harness.planning.demand import Demand
from harness.planning.service_times import Floats, ServiceTimes
from harness.schema.plan_section import Balancer
from harness.simulation.batcher import Batcher, Kinds, Service, Station
from harness.simulation.fleet import serve
from harness.simulation.largest_rate import largest_rate

REQUESTS = 10_000
"""In each simulation, at least."""

EACH = 800
"""And for each replica: a queue takes its time to fill."""

LIMITS = 30.0
"""A simulation is at least so many times as long as the latency that is asked about."""

MOST_REQUESTS = 200_000
"""But for this."""

MOST_REPLICAS = 64
"""More replicas behind a balancer are simulated as so many, with as much less demand."""

BACKLOG = 2_000
"""Requests that wait at first, to see what is served at most."""

LEAST = 0.02
"""Share of the most that can be served under which no rate is looked at."""

CLOSE = 1.008
"""A rate is found when one that holds and one that doesn't are no further apart."""

A_FEW = 5
"""On one of so many requests it is first seen for which share of the time instances compute, on which service
times depend."""


@dataclass(frozen=True)
class Replica:
    """One configuration on one kind of hardware, under a mix of requests, as it is simulated."""

    batcher: Batcher
    """Without `sizes` and `speeds`, which follow from the demand and the service times."""
    times: ServiceTimes
    demand: Demand

    def scaled(self, scale: float) -> Replica:
        """The same with all service times so many times as long."""
        return replace(self, times=replace(self.times, scale=self.times.scale * scale))

    @cached_property
    def most_per_s(self) -> float:
        """Requests a second that are served where many always wait."""
        station = self.station(self.draw(busy=1.0, seed=1))
        station.take(np.zeros(BACKLOG), self.demand.kinds(BACKLOG, 1))
        station.advance(math.inf)
        return BACKLOG / max(station.done)

    @cached_property
    def alone_s(self) -> float:
        """What a request takes an instance by itself, on average."""
        each = [kind.mean_s(size) for kind, size in zip(self.times.kinds, self.demand.sizes, strict=True)]
        return self.times.scale * float(np.average(each, weights=self.demand.weights))

    def station(self, draw: Service) -> Station:
        """One of it, that has served nothing yet."""
        speeds = self.times.speeds(self.batcher.instances)
        return Station(replace(self.batcher, sizes=tuple(self.demand.sizes), speeds=speeds), draw)

    def draw(self, busy: float, seed: int) -> Service:
        """Draws service times where instances compute for a share `busy` of the time."""
        return self.times.drawn(self.batcher.max_batch, busy, seed)


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a simulation says of one rate."""

    rate_per_s: float
    latency_s: Floats
    """Of each request, seconds, ascending, after those of the first tenth of the time."""
    busy: float
    """The share of time in which an instance computes."""
    largest_batch: int
    """Inferences in the largest batch there was."""

    def quantile(self, share: float) -> float:
        """The latency that a share of all requests is at or under, in seconds."""
        return float(self.latency_s[max(0, math.ceil(share * len(self.latency_s)) - 1)])

    @property
    def mean_s(self) -> float:
        return float(self.latency_s.mean())


def simulated(
    replica: Replica,
    rate_per_s: float,
    *,
    replicas: int = 1,
    balancer: Balancer = "round_robin",
    requests: int = REQUESTS,
    about_s: float = 0.0,
    seed: int = 1,
) -> Simulated:
    """`replicas` behind a balancer, at a rate for all of them together. `about_s`: the latency that is asked
    about."""
    alike = max(1.0, replicas / MOST_REPLICAS)
    replicas, rate = round(replicas / alike), rate_per_s / alike
    count = max(requests, EACH * replicas, min(MOST_REQUESTS, math.ceil(LIMITS * about_s * rate)))
    due, kinds = replica.demand.arrivals(rate, count, seed), replica.demand.kinds(count, seed)
    latency, busy, largest = served(replica, due, kinds, replicas=replicas, balancer=balancer, seed=seed)
    settled = due >= due[0] + (due[-1] - due[0]) / 10
    return Simulated(rate_per_s, np.sort(latency[settled]), busy, largest)


def served(
    replica: Replica,
    due_s: Floats,
    kinds: Kinds,
    *,
    replicas: int = 1,
    balancer: Balancer = "round_robin",
    seed: int = 1,
) -> tuple[Floats, float, int]:
    """Latency of each of these requests, seconds; the share of time in which an instance computes; inferences
    in the largest batch."""
    span_s = float(due_s[-1] - due_s[0]) or 1.0
    busy = min(1.0, len(due_s) / span_s / replicas * replica.alone_s / replica.batcher.instances)
    for part in (A_FEW, 1) if replica.times.per_busy else (1,):
        draw = _Largest(replica.draw(busy, seed))
        stations = [replica.station(draw) for _ in range(replicas)]
        some = slice(0, max(1, len(due_s) // part))
        done = serve(due_s[some], stations, balancer, kinds=kinds[some], seed=seed)
        span_s = float(done.max() - due_s[0])
        computed_s = sum(each.busy_s for each in stations)
        busy = min(1.0, computed_s / (span_s * replicas * replica.batcher.instances))
    return done - due_s + replica.times.overhead_s, busy, draw.batch


class _Largest:
    """Draws service times, and remembers the largest batch."""

    def __init__(self, draw: Service) -> None:
        self.draw = draw
        self.batch = 0

    def __call__(self, kind: int, inferences: int) -> float:
        if inferences > self.batch:
            self.batch = inferences
        return self.draw(kind, inferences)


def held(
    replica: Replica,
    limits: Mapping[float, float],
    rate_per_s: float,
    *,
    replicas: int = 1,
    balancer: Balancer = "round_robin",
    requests: int = REQUESTS,
) -> bool:
    """Whether the limits hold at a rate, and no queue grows without end. `limits`: the largest latency, in
    seconds, by the share of requests that is at or under it."""
    if rate_per_s >= replicas * replica.most_per_s:
        return False
    found = simulated(
        replica,
        rate_per_s,
        replicas=replicas,
        balancer=balancer,
        requests=requests,
        about_s=max(limits.values()),
    )
    return all(found.quantile(share) <= limit for share, limit in limits.items())


def capacity(
    replica: Replica,
    limits: Mapping[float, float],
    *,
    replicas: int = 1,
    balancer: Balancer = "round_robin",
    requests: int = REQUESTS,
    near: float | None = None,
) -> float | None:
    """The largest rate, requests a second for all replicas, at which the limits hold and no queue grows; None
    where they hold at no rate. `near`: where it may be."""
    most = replicas * replica.most_per_s

    def holds(rate: float) -> bool:
        return held(replica, limits, rate, replicas=replicas, balancer=balancer, requests=requests)

    found = largest_rate(holds, LEAST * most, most, close=CLOSE, near=near)
    return found[0] if found else None
