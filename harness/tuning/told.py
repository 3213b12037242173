"""What a measured point tells the race."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from harness.analysis.quantile import Z_95
from harness.schema.percentiles import PERCENTILES, limit_key, limited_name, share
from harness.schema.result import PointResult, ServerFigures
from harness.schema.scenario import Objective
from harness.schema.tune_result import Step
from harness.schema.tune_section import Goal, Tune
from harness.tuning.ask_and_tell import Alone, Barred, Failed, Served, Told, Unusable
from harness.tuning.capacity import Rated

Z_95_ONE_SIDED = 1.645

LEAST_ERROR = 0.02
"""No percentile is known better than this, as a logarithm: what its interval leaves out is more."""

UNKNOWN = 0.5
"""The error of a percentile of which not even a lower limit is known."""

NO_LIMIT = (-1.0, LEAST_ERROR)
"""Where no latency is limited, any is under its limit."""

KEPT_UP = 0.97
"""A server that answers less than this share of what was due doesn't keep up, whatever its latency was."""


def limits(objective: Objective) -> dict[float, float]:
    """Largest latency in seconds, by the share of requests that must be at or under it."""
    named = {name: getattr(objective, limit_key(name)) for name in PERCENTILES}
    return {share(name): limit / 1e3 for name, limit in named.items() if limit is not None}


def told(result: PointResult, tune: Tune) -> Told:
    """Of a point at a rate how far it was under its objective, of a saturated one what it served."""
    if result.requests == 0 or (result.verdict == "invalid" and not is_overload(result)):
        return Unusable(result.reasons[0])
    if past := next(_past_constraints(result, tune), None):
        return Barred(past)
    shape = result.point.load.shape
    if shape.nominal_rate_per_s is not None:
        return _with_cost(_rated(result, shape.nominal_rate_per_s), result, tune.goal)
    return _alone(result) if shape.users == 1 else _served(result)


def as_step(what: Told) -> dict[str, Any]:
    """The fields of a `Step` that say what came of it."""
    match what:
        case Served():
            return {
                "told": "served",
                "served_per_s": what.rate_per_s,
                "served_error": what.error,
                "batch": what.batch,
            }
        case Alone():
            return {"told": "alone", "batch": what.batch, "batch_s": what.batch_s}
        case Rated():
            return {
                "told": "rated",
                "excess": what.excess,
                "excess_error": what.error,
                "batch": what.batch,
                "batch_s": what.batch_s,
                "cost": what.cost,
                "cost_error": what.cost_error,
            }
        case _:
            return {"told": type(what).__name__.lower(), "reason": what.why}


def of_step(step: Step) -> Told:
    """What a step told, as `as_step` kept it."""
    if step.told == "served":
        assert step.served_per_s and step.served_error is not None and step.batch
        return Served(step.served_per_s, step.served_error, step.batch)
    if step.told == "alone":
        assert step.batch and step.batch_s
        return Alone(step.batch, step.batch_s)
    if step.told == "rated":
        assert step.rate_per_s and step.excess is not None and step.excess_error
        cost = (step.cost, step.cost_error)
        return Rated(step.rate_per_s, step.excess, step.excess_error, step.batch, step.batch_s, *cost)
    why = step.reason or ""
    if step.told == "unusable":
        return Unusable(why)
    return Barred(why) if step.told == "barred" else Failed(why)


def is_overload(result: PointResult) -> bool:
    """Whether the rate was so high that requests failed. That is an answer, and whatever else is wrong with
    the point follows from it: a client that shares the server's cores, requests that were given up."""
    failed = result.errors / result.requests > result.point.validity.errors
    return failed and result.point.load.open_loop and all(p.lost is None for p in result.load_processes)


def _past_constraints(result: PointResult, tune: Tune) -> Iterator[str]:
    for gpu in result.gpu or ():
        held = gpu.server_memory_bytes_max or gpu.memory_bytes_max
        if tune.gpu_memory_mb is not None and held is not None and held > tune.gpu_memory_mb * 1e6:
            yield f"it held {held / 1e6:.0f} MB of GPU {gpu.device}, over {tune.gpu_memory_mb:g} MB"
        power = gpu.power_w_mean
        if tune.gpu_power_w is not None and power is not None and power > tune.gpu_power_w:
            yield f"GPU {gpu.device} drew {power:.0f} W, over {tune.gpu_power_w:g} W"


def _served(result: PointResult) -> Told:
    requests, inferences = result.throughput_requests_per_s, result.throughput_inferences_per_s
    if not requests or not inferences:
        return Unusable("no request was answered")
    interval = result.throughput_interval_95
    error = requests * 0.05
    if interval is not None:  # it is of inferences
        error = (interval[1] - interval[0]) / 2 / Z_95 * requests / inferences
    batch = result.server.mean_batch if result.server is not None else None
    return Served(requests, error, batch or inferences / requests)


def _alone(result: PointResult) -> Told:
    server = result.server
    if server is None or server.mean_batch is None or (batch_s := _batch_s(server)) is None:
        return Unusable("the server told no times")
    return Alone(server.mean_batch, batch_s)


def _batch_s(server: ServerFigures) -> float | None:
    """Mean seconds that an instance took for a batch."""
    if server.compute_infer_s is None:
        return None
    return server.compute_infer_s + (server.compute_input_s or 0.0) + (server.compute_output_s or 0.0)


def _rated(result: PointResult, rate_per_s: float) -> Rated:
    nothing = (UNKNOWN, UNKNOWN) if limits(result.point.objective) else NO_LIMIT
    excess, error = max(_excesses(result), default=nothing)
    answered = result.throughput_requests_per_s
    if answered is not None and answered < KEPT_UP * rate_per_s and result.steady_state is not None:
        grew = result.steady_state.steady is False
        excess = max(excess, 0.5) if grew else excess
    server = result.server
    if server is None:
        return Rated(rate_per_s, excess, error)
    return Rated(rate_per_s, excess, error, server.mean_batch, _batch_s(server))


def _with_cost(rated: Rated, result: PointResult, goal: Goal) -> Told:
    if goal == "throughput":
        return rated
    found = _cost(result, goal)
    if found is None:
        return Unusable(f"nothing told its {goal.replace('_', ' ')}")
    return replace(rated, cost=found[0], cost_error=max(found[1], LEAST_ERROR))


def _cost(result: PointResult, goal: Goal) -> tuple[float, float] | None:
    """What is to be the least, and the standard error of its logarithm. Of energy and memory only the moment
    is uncertain."""
    if goal == "latency":
        return _percentile(result, limited_name(result.point.objective))
    if goal == "energy":
        told = [gpu.energy_j_per_inference for gpu in result.gpu or ()]
    else:
        told = [gpu.server_memory_bytes_max or gpu.memory_bytes_max for gpu in result.gpu or ()]
    known = [float(value) for value in told if value is not None]
    return (sum(known), 0.0) if known and sum(known) > 0 else None


def _percentile(result: PointResult, name: str) -> tuple[float, float] | None:
    """Its value, the sample's own where no other is supported, and the standard error of its logarithm."""
    latency = result.latency_s
    value = getattr(latency, name) or latency.sample.get(name)
    if value is None:
        return None
    interval, at_least = latency.interval_95.get(name), latency.at_least.get(name)
    if interval is not None:
        return value, math.log(interval[1] / interval[0]) / 2 / Z_95
    if at_least is not None:
        return value, math.log(value / at_least) / Z_95_ONE_SIDED
    return value, UNKNOWN


def _excesses(result: PointResult) -> Iterator[tuple[float, float]]:
    """Of each limit the logarithm of its figure over it, and the standard error."""
    met = {check.name: check.met for check in result.objective}
    for name in PERCENTILES:
        limit_ms = getattr(result.point.objective, limit_key(name))
        if limit_ms is None:
            continue
        known = _percentile(result, name)
        if known is None:
            continue
        excess, error = math.log(known[0] / (limit_ms / 1e3)), known[1]
        if met.get(limit_key(name)) is False and excess <= 0:  # by the requests that failed
            excess, error = 0.5, LEAST_ERROR
        yield excess, max(error, LEAST_ERROR)
    if met.get("errors") is False:
        yield 0.5, LEAST_ERROR
