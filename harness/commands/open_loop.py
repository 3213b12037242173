"""A scenario's open loop at a rate that is not its own, up to which its objective may hold."""

from __future__ import annotations

from harness.schema.errors import InputError
from harness.schema.expansion import varied_workload
from harness.schema.point import Setting
from harness.schema.scenario import Scenario
from harness.store.scenario_file import LoadedScenario
from harness.tuning.told import limits

USERS, MOST_USERS = 2, 512
"""Users for each place in a batch of each instance, so that the next batch is there before one ends."""


def at_rate(scenario: Scenario, rate_per_s: float) -> dict[str, Setting]:
    """The settings of its load at a rate."""
    load: dict[str, Setting] = {
        "load.rate_per_s": float(f"{rate_per_s:.4g}"),
        "load.arrivals": arrivals(scenario),
    }
    if scenario.load.cv is not None:
        load["load.cv"] = scenario.load.cv
    return load


def arrivals(scenario: Scenario) -> str:
    """How its requests are spaced: as it says, else as those of many independent users."""
    return scenario.load.arrivals or "poisson"


def gap_cv(scenario: Scenario) -> float:
    """Coefficient of variation of the gaps between them."""
    return {"constant": 0.0, "poisson": 1.0, "gamma": scenario.load.cv or 1.0}[arrivals(scenario)]


def saturating(instances: int, max_batch: int, size: int) -> dict[str, Setting]:
    """The settings of a load under which every batch is full, of requests of `size` inferences."""
    places = instances * max(1, max_batch // size)
    return {"load.concurrency": min(MOST_USERS, USERS * places)}


def limited(loaded: LoadedScenario) -> dict[float, float]:
    """The largest latency, in seconds, by the share of requests that the objective asks to be at or under it.

    Raises InputError where it limits none, and for a scenario of several workloads.
    """
    check_one_workload(loaded)
    found = limits(loaded.scenario.objective)
    if not found:
        raise InputError(
            f"{loaded.name} has no objective for latency, so that no rate is too high: add one, "
            "e.g. `objective: {p99_ms: 50}`"
        )
    return found


def check_one_workload(loaded: LoadedScenario) -> None:
    """Raises InputError for a scenario of several workloads."""
    if several := varied_workload(loaded.scenario):
        raise InputError(
            f"{loaded.name} has several values of {', '.join(several)}, and each of them is a workload with "
            f"an answer of its own: choose one (--set {several[0]}=…), make it a mix of request classes with "
            "weights, or declare it `chosen`"
        )
