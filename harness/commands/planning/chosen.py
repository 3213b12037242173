"""The configuration that a plan is made with, and the model of it that a simulation goes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.commands.planning.asked import Asked
from harness.commands.planning.evidence import Evidence, Frozen
from harness.planning.replica import Replica, capacity
from harness.planning.service_times import Look, ServiceTimes, Unknown, fitted
from harness.planning.trust import Measurement, Trust, measured_like, trust
from harness.schema.point import Setting
from harness.simulation.batcher import Batcher

SMALL = 4_000
"""Requests in simulations that only tell configurations apart."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One configuration on one kind of hardware."""

    configuration: dict[str, Setting | None]
    replica: Replica
    """With service times as the measurements at rates correct them."""
    trust: Trust
    capacity_per_s: float | None
    """Requests a second, about; None where the limits hold at no rate."""


def chosen(evidence: Sequence[Evidence], recommended: Sequence[Frozen], asked: Asked) -> Chosen:
    """Of what searches recommend, or else of all, the configuration that serves most. `evidence`: all ways to
    compute that were measured on the hardware. Raises Unknown where none can be planned with."""
    found: list[Chosen] = []
    unknown: list[Unknown] = []
    for each in [e for e in evidence if e.has_any_of(recommended)] or evidence:
        try:
            times = fitted(_looks(each, evidence), asked.kinds)
            by_all = trust(times, each.measurements)
        except Unknown as why:
            unknown.append(why)
            continue
        best = [r for r in recommended if r in each.batchers] or list(each.batchers)
        for configuration in best:
            batcher: Batcher = each.batchers[configuration]
            if max(asked.demand.sizes) > batcher.max_batch:
                continue
            trusted = _trust(times, batcher, each.measurements, by_all)
            replica = Replica(batcher, times, asked.demand).scaled(trusted.scale)
            held = capacity(replica, asked.limits, requests=SMALL)
            found.append(Chosen(dict(configuration), replica, trusted, held))
    if found:
        return max(found, key=lambda one: one.capacity_per_s or 0.0)
    raise unknown[0] if unknown else Unknown("no point with the scenario's requests is valid")


def _trust(
    times: ServiceTimes, batcher: Batcher, measurements: Sequence[Measurement], by_all: Trust
) -> Trust:
    """By the configuration's own rates; `by_all` where they are too few, or the simulation is far from
    them."""
    own = measured_like(batcher, measurements)
    if own is measurements:
        return by_all
    try:
        return trust(times, own)
    except Unknown:
        return by_all


def _looks(one: Evidence, all_: Sequence[Evidence]) -> list[Look]:
    """Its own; how single executions differ is taken from another way to compute where this one has no single
    user."""
    has = {look.kind for look in one.looks if look.alone_s is not None}
    borrowed = [
        replace(look, by_batch=())
        for each in all_
        for look in each.looks
        if each is not one and look.alone_s is not None and look.kind not in has
    ]
    return [*one.looks, *borrowed]
