"""A plan in sentences: for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator

from harness.report.answer import objective_words
from harness.report.format import count, ms, number, setting
from harness.report.search_words import setting_name
from harness.schema.plan_result import (
    Count,
    CurvePoint,
    HardwarePlan,
    PlanResult,
    Range,
    TrustFigures,
    Verification,
)
from harness.schema.scenario import Objective

OF_INTEREST = 12
"""Settings that are named of a configuration, at most."""


def plan_lines(result: PlanResult) -> Iterator[tuple[str, str]]:
    """(what a sentence is about, the sentence)."""
    yield "demand", demand_words(result)
    yield "objective", objective_words(Objective(**result.objective)) or "none"
    for each in result.hardware:
        yield from hardware_lines(each, several=len(result.hardware) > 1)
    for check in result.verification:
        yield "verified", verification_words(check)


def demand_words(result: PlanResult) -> str:
    """What has to be served, and how."""
    demand = result.demand
    words = f"{number(demand.rate_per_s)} requests/s at the busiest time"
    if demand.growth_per_year and demand.years:
        words += (
            f" ({number(demand.today_per_s)} today, {demand.growth_per_year:.0%} more each year, "
            f"{demand.years:g} {'year' if demand.years == 1 else 'years'})"
        )
    words += f", {demand.arrivals} arrivals, {result.balancer.replace('_', ' ')}"
    words += f"; {result.headroom:.0%} stays free"
    if result.zones:
        words += f", and a zone of {result.zones} may be lost"
    if result.failures:
        words += f", and {count(result.failures, 'replica')} may be lost"
    return words


def hardware_lines(plan: HardwarePlan, *, several: bool) -> Iterator[tuple[str, str]]:
    """Of one kind of hardware."""
    yield (
        plan.name if several else "hardware",
        f"{_configuration(plan)}" if several else (f"{plan.name}: {_configuration(plan)}"),
    )
    if plan.why is not None or plan.replicas is None or plan.at_peak is None:
        remedy = f"; {plan.remedy}" if plan.remedy else ""
        yield "can't say", f"{plan.why}{remedy}"
        if plan.trust is not None:
            yield "trust", trust_words(plan.trust)
        yield from _left_out(plan)
        return
    yield "replicas", replicas_words(plan.replicas, plan.lost)
    yield "one replica", f"holds the objective up to {range_words(plan.capacity_per_s)}"
    yield "at the busiest time", latency_words(plan.at_peak)
    yield (
        "breaks first",
        "; then ".join(f"{each.what} from {number(each.rate_per_s)}/s" for each in plan.breaks),
    )
    if plan.outgrown is not None:
        yield "outgrown", f"{plan.outgrown}, at {number(plan.holds_per_s or 0.0)} requests/s"
    yield "cost", money_words(plan)
    if plan.energy is not None:
        how = "measured" if plan.energy.measured else "by the power that is given"
        yield "energy", f"{number(plan.energy.per_million_inferences_kwh)} kWh a million inferences ({how})"
    if plan.trust is not None:
        yield "trust", trust_words(plan.trust)
    if plan.narrows is not None:
        yield "to narrow it", plan.narrows
    yield from _left_out(plan)


def _left_out(plan: HardwarePlan) -> Iterator[tuple[str, str]]:
    if plan.left_out:
        total, why = sum(plan.left_out.values()), next(iter(plan.left_out))
        yield "left out", f"{count(total, 'point')}, the first because: {why}"


def verification_words(check: Verification) -> str:
    """What the live server said of the prediction."""
    verdict = {True: "the prediction held", False: "the prediction didn't hold", None: "it can't be told"}
    return f"{verdict[check.held]} at {number(check.rate_per_s)} requests/s: {check.why}"


def _configuration(plan: HardwarePlan) -> str:
    known = [
        f"{setting_name(path)} {setting(value)}"
        for path, value in plan.configuration.items()
        if value is not None and path.startswith("server.")
    ]
    return ", ".join(known[:OF_INTEREST]) or "no configuration"


def replicas_words(found: Count, lost: int) -> str:
    """ "7 (6 to 8), of which 1 may be lost"."""
    words = f"{found.value}"
    if found.low is not None or found.high is not None:
        ends = f"{found.low if found.low is not None else '?'} to {found.high or 'no number'}"
        words += "" if found.low == found.high == found.value else f" ({ends})"
    return words + (f", of which {lost} may be lost" if lost else "")


def range_words(found: Range | None) -> str:
    """ "120 requests/s (112 to 129)"."""
    if found is None:
        return "no rate"
    low = "no rate" if found.low is None else number(found.low)
    high = "?" if found.high is None else number(found.high)
    return f"{number(found.value)} requests/s ({low} to {high})"


def latency_words(point: CurvePoint) -> str:
    """What is expected at a rate."""
    return (
        f"p50 {ms(point.p50_s)} ms, p90 {ms(point.p90_s)} ms, p99 {ms(point.p99_s)} ms; the limit of "
        f"{ms(point.limit_s)} ms is held with {ms(point.limit_low_s)} to {ms(point.limit_high_s)} ms; "
        f"instances compute for {point.busy:.0%} of the time"
    )


def money_words(plan: HardwarePlan) -> str:
    """What it costs, or why that isn't known."""
    money = plan.money
    if money is None:
        return f"not known: {plan.no_money}"
    words = (
        f"{number(money.per_million_inferences)} {money.currency} a million inferences, "
        f"{number(money.per_hour)} {money.currency} an hour"
    )
    if money.per_day_scaled is not None:
        words += (
            f"; {number(money.per_day_scaled)} {money.currency} a day where replicas follow the demand, "
            f"{number(money.per_day)} where they don't"
        )
    return words


def trust_words(trust: TrustFigures) -> str:
    """How far the prediction is right."""
    held = sum(each.held for each in trust.checks)
    return (
        f"{held} of {len(trust.checks)} measured rates lie where the others say; service times are right to "
        f"±{trust.factor - 1:.1%}, and were corrected by {trust.correction - 1:+.1%}"
    )
