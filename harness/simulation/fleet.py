"""Replicas behind a load balancer, as a discrete-event simulation.

Each replica is a `Station`. The balancer chooses when a request arrives, by what is in flight then:

- `random`: any, as Kubernetes' services do by default;
- `round_robin`: one after the other;
- `least_loaded`: one with the fewest requests in flight, of several the one that has been so the longest;
- `power_of_two`: the less loaded of two that are drawn at random (M. Mitzenmacher, "The power of two choices
  in randomized load balancing", IEEE TPDS 12, 2001).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from heapq import heappop, heappush

import numpy as np

from harness.schema.plan_section import Balancer
from harness.simulation.batcher import Kinds, Seconds, Station


def serve(
    due_s: Seconds,
    stations: Sequence[Station],
    balancer: Balancer,
    *,
    kinds: Kinds | None = None,
    seed: int = 1,
) -> Seconds:
    """When each request is answered, in seconds on the clock of `due_s`.

    `due_s`: when each arrives, ascending; `kinds`: which kind each is of (None: of one kind); `stations`:
    fresh ones, which all serve what arrives.
    """
    rng = np.random.default_rng([seed, 2])
    asked = np.zeros(len(due_s), np.int64) if kinds is None else kinds
    match balancer:
        case "random":
            chosen = rng.integers(len(stations), size=len(due_s))
            _take(due_s, asked, stations, chosen)
        case "round_robin":
            chosen = np.arange(len(due_s)) % len(stations)
            _take(due_s, asked, stations, chosen)
        case "power_of_two":
            chosen = _less_loaded_of_two(due_s, asked, stations, rng)
        case "least_loaded":
            chosen = _least_loaded(due_s, asked, stations)
    done = np.empty(len(due_s))
    order = np.argsort(chosen, kind="stable")
    bounds = np.searchsorted(chosen[order], np.arange(len(stations) + 1))
    for station, begin, end in zip(stations, bounds[:-1], bounds[1:], strict=True):
        station.advance(math.inf)
        done[order[begin:end]] = station.done
    return done


def _take(due_s: Seconds, kinds: Kinds, stations: Sequence[Station], chosen: Kinds) -> None:
    """Where the choice doesn't depend on the load, each station has its arrivals at once."""
    for number, station in enumerate(stations):
        mine = chosen == number
        station.take(due_s[mine], kinds[mine])


def _less_loaded_of_two(
    due_s: Seconds, kinds: Kinds, stations: Sequence[Station], rng: np.random.Generator
) -> Kinds:
    count = len(stations)
    one = rng.integers(count, size=len(due_s))
    other = (one + rng.integers(1, count, size=len(due_s))) % count if count > 1 else one
    chosen = []
    for due, kind, first, second in zip(
        due_s.tolist(), kinds.tolist(), one.tolist(), other.tolist(), strict=True
    ):
        a, b = stations[first], stations[second]
        a.advance(due)
        b.advance(due)
        if b.in_flight < a.in_flight:
            first, a = second, b
        a.arrive(due, kind)
        chosen.append(first)
    return np.array(chosen, np.int64)


def _least_loaded(due_s: Seconds, kinds: Kinds, stations: Sequence[Station]) -> Kinds:
    """Stations are kept by how many requests they have in flight, and each is looked at when its next event
    is due."""
    by_load: list[OrderedDict[int, None]] = [OrderedDict.fromkeys(range(len(stations)))]
    loads = [0] * len(stations)
    next_s = [math.inf] * len(stations)
    events: list[tuple[float, int]] = []
    """When something happens in a station; what isn't its `next_s` any more is passed over."""
    chosen, least = [], 0

    def look(number: int, now: float) -> None:
        nonlocal least
        station = stations[number]
        upcoming = station.advance(now)
        if upcoming != next_s[number]:
            next_s[number] = upcoming
            if upcoming < math.inf:
                heappush(events, (upcoming, number))
        if (load := station.in_flight) != loads[number]:
            del by_load[loads[number]][number]
            loads[number] = load
            if load == len(by_load):
                by_load.append(OrderedDict())
            by_load[load][number] = None
            least = min(least, load)

    for due, kind in zip(due_s.tolist(), kinds.tolist(), strict=True):
        while events and events[0][0] <= due:
            at, number = heappop(events)
            if at == next_s[number]:
                look(number, at)
        while not by_load[least]:
            least += 1
        number = next(iter(by_load[least]))
        stations[number].arrive(due, kind)
        look(number, due)
        chosen.append(number)
    return np.array(chosen, np.int64)
