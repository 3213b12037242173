"""The plan for one kind of hardware."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from harness.commands.planning.asked import Asked
from harness.commands.planning.chosen import Chosen, chosen
from harness.commands.planning.evidence import Evidence, Frozen
from harness.planning.replica import Simulated, simulated
from harness.planning.service_times import ServiceTimes, Unknown
from harness.planning.sizing import Fleet, spare, years_until
from harness.planning.trust import Trust
from harness.schema.hardware import Hardware
from harness.schema.percentiles import figure_title, name_of
from harness.schema.plan_result import (
    BatchTime,
    Break,
    CheckedPoint,
    Count,
    CurvePoint,
    Energy,
    HardwarePlan,
    Money,
    PartOfDay,
    Range,
    TrustFigures,
)

CURVE = (0.1, 0.35, 0.6, 0.75, 0.85, 0.92, 0.97, 1.0, 1.03)
"""Rates of the curve, over the rate at which the objective is missed."""

MORE = 5
"""Measurements of which it is told how much they would narrow the answer."""

NARROWS = 0.1
"""Share by which an interval must shrink for a measurement to be worth naming."""

A_DAY_S = 86_400
DAYS_A_YEAR = 365.25


def hardware_plan(
    evidence: Sequence[Evidence],
    recommended: Sequence[Frozen],
    asked: Asked,
    named: Hardware | None,
    currency: str,
    left_out: Mapping[str, int],
) -> tuple[HardwarePlan, Chosen | None]:
    """And the model that it was made by. `evidence`: all ways to compute that were measured on it; `named`:
    what the user says of it."""
    begun = HardwarePlan(
        name=named.name if named is not None else evidence[0].hardware_name,
        environment=evidence[0].environment,
        sources=tuple(dict.fromkeys(source for each in evidence for source in each.sources)),
        configuration={},
        points_used=sum(len(each.points) for each in evidence),
        left_out=dict(left_out),
        why=None,
        remedy=None,
    )
    try:
        model = chosen(evidence, recommended, asked)
    except Unknown as unknown:
        remedy = "`harness plan --observe` measures it"
        return begun.model_copy(update={"why": str(unknown), "remedy": remedy}), None
    times = model.replica.times
    begun = begun.model_copy(
        update={
            "configuration": model.configuration,
            "service": tuple(_service(times, asked.kinds)),
            "overhead_s": times.overhead_s,
            "trust": _trust(model.trust),
        }
    )
    if model.capacity_per_s is None:
        why = "the objective is missed at any rate: a request that waits for no other takes too long"
        remedy = "raise the limit, or serve the model another way"
        return begun.model_copy(update={"why": why, "remedy": remedy}), model
    return begun.model_copy(update=_answer(model, evidence, asked, named, currency)), model


def _answer(
    model: Chosen, evidence: Sequence[Evidence], asked: Asked, named: Hardware | None, currency: str
) -> dict[str, Any]:
    plan, factor = asked.plan, model.trust.factor
    fleet = _fleet(model, asked, 1.0)
    slow, quick = _fleet(model, asked, factor), _fleet(model, asked, 1 / factor)
    one = Range(value=fleet.one_per_s or 0.0, low=slow.one_per_s, high=quick.one_per_s)
    needed = fleet.needed(asked.peak_per_s)
    if needed is None:
        why = "no number of replicas holds the objective with the losses that it shall survive"
        return {"capacity_per_s": one, "why": why, "remedy": "lower plan.failures, or spread over more zones"}
    replicas = Count(value=needed, low=quick.needed(asked.peak_per_s), high=slow.needed(asked.peak_per_s))
    breaks = _breaks(fleet, needed)
    holds = max(asked.peak_per_s, fleet.most_per_s(needed) or 0.0)
    largest = simulated(model.replica, asked.peak_per_s, replicas=needed, balancer=plan.balancer)
    day = tuple(_day(fleet, asked))
    return {
        "capacity_per_s": one,
        "replicas": replicas,
        "lost": fleet.spare(needed),
        "at_peak": _curve_point(model, asked, needed, asked.peak_per_s),
        "curve": tuple(_curve_point(model, asked, needed, part * breaks[0].rate_per_s) for part in CURVE),
        "breaks": breaks,
        "holds_per_s": holds,
        "outgrown": _outgrown(asked, holds),
        "day": day,
        "money": _money(asked, needed, day, named, currency),
        "no_money": _no_money(named, evidence),
        "energy": _energy(model, evidence, asked, needed, named),
        "extrapolated": _extrapolated(model, largest),
        "narrows": _narrows(model, largest),
    }


def _fleet(model: Chosen, asked: Asked, scale: float) -> Fleet:
    plan = asked.plan
    return Fleet(
        model.replica.scaled(scale),
        asked.limits,
        plan.balancer,
        plan.headroom,
        spare(plan.failures, plan.zones),
        near_per_s=(model.capacity_per_s or 0.0) / scale,
    )


def _curve_point(model: Chosen, asked: Asked, replicas: int, rate_per_s: float) -> CurvePoint:
    limited, limit_s = asked.first_limit

    def at(scale: float) -> Simulated:
        return simulated(
            model.replica.scaled(scale),
            rate_per_s,
            replicas=replicas,
            balancer=asked.plan.balancer,
            about_s=limit_s,
        )

    usual = at(1.0)
    return CurvePoint(
        rate_per_s=rate_per_s,
        mean_s=usual.mean_s,
        p50_s=usual.quantile(0.5),
        p90_s=usual.quantile(0.9),
        p99_s=usual.quantile(0.99),
        limit_low_s=at(1 / model.trust.factor).quantile(limited),
        limit_high_s=at(model.trust.factor).quantile(limited),
        limit_s=limit_s,
        busy=usual.busy,
    )


def _breaks(fleet: Fleet, replicas: int) -> tuple[Break, ...]:
    found = [
        Break(what=_limit_words(share_, fleet.limits), rate_per_s=rate)
        for share_, rate in fleet.breaks(replicas).items()
    ]
    return tuple(sorted(found, key=lambda each: each.rate_per_s))


def _limit_words(limited: float | None, limits: Mapping[float, float]) -> str:
    if limited is None:
        return "the queue grows without end"
    return f"{figure_title(name_of(limited))} ≤ {limits[limited] * 1e3:g} ms"


def _outgrown(asked: Asked, holds_per_s: float) -> str | None:
    years = years_until(asked.today_per_s, holds_per_s, asked.plan.growth_per_year)
    if years is None or years > 100:
        return None
    return (datetime.now(UTC) + timedelta(days=years * DAYS_A_YEAR)).date().isoformat()


def _day(fleet: Fleet, asked: Asked) -> Iterator[PartOfDay]:
    """A part of the day has the replicas for itself and for what follows before another could be started."""
    daily = asked.daily_per_s
    if daily is None:
        return
    part_s = A_DAY_S / len(daily)
    ahead = math.ceil(asked.plan.start_up_s / part_s) if asked.plan.start_up_s else 0
    needed: dict[float, int] = {0.0: 0}
    for number, rate in enumerate(daily):
        most = max(daily[(number + step) % len(daily)] for step in range(ahead + 1)) * asked.growth
        if most not in needed:
            needed[most] = fleet.needed(most) or 0
        yield PartOfDay(
            begins_h=number * part_s / 3600, rate_per_s=rate * asked.growth, replicas=needed[most]
        )


def _money(
    asked: Asked, replicas: int, day: Sequence[PartOfDay], named: Hardware | None, currency: str
) -> Money | None:
    if named is None or named.price_per_hour is None:
        return None
    price = named.price_per_hour
    scaled = sum(part.replicas for part in day) * price * 24 / len(day) if day else None
    per_day = replicas * price * 24
    inferences = _inferences_a_day(asked)
    return Money(
        currency=currency,
        per_hour=replicas * price,
        per_day=per_day,
        per_day_scaled=scaled,
        per_million_inferences=(per_day if scaled is None else scaled) / inferences * 1e6,
    )


def _inferences_a_day(asked: Asked) -> float:
    daily = asked.daily_per_s
    mean = asked.peak_per_s if daily is None else asked.growth * sum(daily) / len(daily)
    return mean * A_DAY_S * asked.demand.inferences


def _no_money(named: Hardware | None, evidence: Sequence[Evidence]) -> str | None:
    if named is not None and named.price_per_hour is not None:
        return None
    name = evidence[0].hardware_name if named is None else named.name
    return f"no price is given for {name}: name a file with its price_per_hour by --hardware"


def _energy(
    model: Chosen, evidence: Sequence[Evidence], asked: Asked, replicas: int, named: Hardware | None
) -> Energy | None:
    """Measured at the rate nearest to that of a replica at the busiest time; else by the power given."""
    rate = asked.peak_per_s / replicas
    known = [
        (abs(math.log(point.throughput_requests_per_s / rate)), joules)
        for each in evidence
        for point in each.points
        if point.configuration == model.configuration
        and point.throughput_requests_per_s
        and (joules := _joules(point.gpu)) is not None
    ]
    if known:
        joules = min(known)[1]
        return Energy(joules_per_inference=joules, per_million_inferences_kwh=joules / 3.6, measured=True)
    if named is None or named.power_w is None:
        return None
    joules = named.power_w / (rate * asked.demand.inferences)
    return Energy(joules_per_inference=joules, per_million_inferences_kwh=joules / 3.6, measured=False)


def _joules(gpus: Any) -> float | None:
    known = [gpu.energy_j_per_inference for gpu in gpus or () if gpu.energy_j_per_inference is not None]
    return sum(known) if known else None


def _extrapolated(model: Chosen, peak: Simulated) -> int | None:
    measured = min(kind.batches[-1] for kind in model.replica.times.kinds)
    return peak.largest_batch if peak.largest_batch > measured else None


def _narrows(model: Chosen, peak: Simulated) -> str | None:
    """Which measurement would narrow the answer most."""
    batch = _extrapolated(model, peak)
    if batch is not None:
        largest = int(min(kind.batches[-1] for kind in model.replica.times.kinds))
        return (
            f"batches of up to {batch} inferences are expected, and none over {largest} was measured: a "
            "point under more users would tell (`harness plan --observe`)"
        )
    now, then = model.trust.factor, model.trust.after(MORE)
    if math.log(then) < (1 - NARROWS) * math.log(now):
        per_s = 0.9 * (model.capacity_per_s or 0.0)
        return (
            f"{MORE} more points near {per_s:.3g} requests/s a replica would say how long a batch takes to "
            f"±{then - 1:.1%}, and not ±{now - 1:.1%} (`harness plan --observe`)"
        )
    return (
        f"more points would hardly narrow it: service times differ by ±{now - 1:.1%} from one moment to "
        "another, as a quieter machine's would not"
    )


def _service(times: ServiceTimes, kinds: Sequence[str]) -> Iterator[BatchTime]:
    for name, kind in zip(kinds, times.kinds, strict=True):
        for batch, seconds in zip(kind.batches.tolist(), kind.seconds.tolist(), strict=True):
            yield BatchTime(request=name, batch=round(batch), seconds=seconds * times.scale)


def _trust(found: Trust) -> TrustFigures:
    return TrustFigures(
        correction=found.scale,
        factor=found.factor,
        checks=tuple(
            CheckedPoint(
                point=each.measurement.point,
                rate_per_s=each.measurement.rate_per_s,
                percentile=name_of(each.measurement.share),
                measured_s=each.measurement.latency_s,
                predicted_s=each.predicted_s,
                low_s=each.low_s,
                high_s=each.high_s if math.isfinite(each.high_s) else None,
                held=each.held,
            )
            for each in found.checks
        ),
    )
