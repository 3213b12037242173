"""A comparison of machines in words: the answer in a sentence, and the rows of its table of ratios."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.report.answer import settings_words, short_names
from harness.report.format import DASH, ms, number
from harness.schema.compare_result import (
    HardwareComparison,
    MachineFigures,
    Metric,
    RatioToReference,
    Standing,
    WorkloadComparison,
)
from harness.schema.tune_result import Figure

METRICS: dict[Metric, tuple[str, str]] = {
    "capacity": ("throughput", "requests/s"),
    "capacity_per_gpu": ("throughput a GPU", "requests/s"),
    "throughput": ("throughput", "requests/s"),
    "p50": ("p50", "ms"),
    "p99": ("p99", "ms"),
    "energy": ("GPU energy an inference", "J"),
    "cost": ("cost of a million inferences", ""),
}
"""Each metric's name and unit."""

LATENCIES: tuple[Metric, ...] = ("p50", "p99")


def standing_words(standing: Standing, metric: Metric) -> str:
    """ "more", "faster", "can't be told apart"."""
    if standing == "not told apart":
        return "can't be told apart"
    if metric in LATENCIES:
        return {"more": "slower", "less": "faster"}.get(standing, standing)
    return standing


@dataclass(frozen=True, slots=True)
class RatioRow:
    """One ratio as it stands in a table."""

    workload: str
    machine: str
    what: str
    reference: str
    value: str
    ratio: str
    standing: Standing
    told: str
    why: str


def answer_lines(result: HardwareComparison) -> Iterator[tuple[str, str]]:
    """What is compared, the answer of each workload, what was allowed, and what is left open."""
    names = [machine.name for machine in result.machines]
    yield "compared", f"{', '.join(names[1:])} with {names[0]} (the reference), {result.model}"
    for workload in result.workloads:
        for machine, figures in zip(result.machines[1:], workload.figures[1:], strict=True):
            about = workload_words(result, workload) or machine.name
            yield about, answer_words(machine.name, figures, names[0], workload)
    for each in result.allowed:
        yield "allowed", f"{each.name}: {each.why}; so no figure here is a fair one"
    if result.why is not None:
        yield "not conclusive", result.why


def title_of(result: HardwareComparison) -> str:
    """The first machines' names, and that the comparison is unfair where it is."""
    names = [machine.name for machine in result.machines]
    return f"{', '.join(names[1:])} beside {names[0]}"


def answer_words(name: str, figures: MachineFigures, reference: str, workload: WorkloadComparison) -> str:
    """The ratio that matters most, as a sentence."""
    first = headline(figures.ratios)
    if first is None:
        return f"{name} and {reference} have no load in common at which both have figures"
    at = f" {first.at}" if first.at else ""
    if first.metric == "capacity" and workload.limits_s:
        at = f" with {limits_words(workload)}"
    what = METRICS[first.metric][0]
    both = f"{value_words(first.metric, first.value)} against {value_words(first.metric, first.reference)}"
    if first.metric == "capacity":
        capacities = figures.capacity_per_s, workload.figures[0].capacity_per_s
        both = " against ".join(map(bounds_words, capacities))
    said = {
        "more": f"{name} has {ratio_words(first.ratio)} times the {what} of {reference}{at}: {both}",
        "less": f"{name} has {ratio_words(first.ratio)} times the {what} of {reference}{at}: {both}",
        "not told apart": f"the {what} of {name} and {reference}{at} can't be told apart: "
        f"{ratio_words(first.ratio)} times, {both}",
        "not known": f"which of {name} and {reference} has more {what}{at} isn't known ({both}): {first.why}",
    }
    return said[first.standing]


def headline(ratios: Sequence[RatioToReference]) -> RatioToReference | None:
    """The capacity; without one the throughput under the largest load, then the p50 there."""
    for metric in ("capacity", "throughput", "p50"):
        found = [each for each in ratios if each.metric == metric]
        if found:
            return found[-1]
    return None


def rows(result: HardwareComparison, *, short: bool = False) -> Iterator[RatioRow]:
    """Every ratio, machine by machine; `short`: of loads that both had only the least and the largest."""
    for workload in result.workloads:
        for machine, figures in zip(result.machines[1:], workload.figures[1:], strict=True):
            loads = list(dict.fromkeys(each.at for each in figures.ratios if each.metric in LATENCIES))
            for each in figures.ratios:
                if short and each.at in loads[1:-1]:
                    continue
                name, unit = METRICS[each.metric]
                unit = result.currency if each.metric == "cost" else unit
                of = value_words(each.metric, each.reference), value_words(each.metric, each.value)
                if each.metric == "capacity":
                    both = workload.figures[0].capacity_per_s, figures.capacity_per_s
                    of = bounds_words(both[0], ""), bounds_words(both[1], "")
                yield RatioRow(
                    workload=workload_words(result, workload),
                    machine=machine.name,
                    what=f"{name} ({unit}) {each.at}",
                    reference=of[0],
                    value=of[1],
                    ratio=ratio_words(each.ratio),
                    standing=each.standing,
                    told=standing_words(each.standing, each.metric),
                    why=each.why or "",
                )


def workload_words(result: HardwareComparison, workload: WorkloadComparison) -> str:
    """What tells it from the others; empty where there is one."""
    if len(result.workloads) == 1:
        return ""
    paths = [
        path
        for path in workload.workload
        if len({str(each.workload.get(path)) for each in result.workloads}) > 1
    ]
    names = short_names(dict.fromkeys(paths))
    return ", ".join(f"{names[path]} {workload.workload[path]}" for path in paths)


def configuration_words(figures: MachineFigures, others: Sequence[MachineFigures]) -> str:
    """The settings of it that aren't the same among all points."""
    seen = [point.configuration for each in others for point in each.points]
    varied = [path for path in figures.configuration if len({str(each.get(path)) for each in seen}) > 1]
    return settings_words(figures.configuration, varied) if varied else "the only configuration"


def limits_words(workload: WorkloadComparison) -> str:
    return " and ".join(f"{name} up to {ms(limit)} ms" for name, limit in workload.limits_s.items())


def ratio_words(found: Figure) -> str:
    """ "1.82 (1.70–1.95)", "at least 1.7", "at most 0.6"."""
    if found.value is None:
        return bounds_words(found, "", under="at most")
    if found.low is None and found.high is None:
        return f"{number(found.value)} (no interval)"
    if found.low is None or found.high is None:
        ends = Figure(value=None, low=found.low, high=found.high)
        return f"{number(found.value)} ({bounds_words(ends, '', under='at most')})"
    return f"{number(found.value)} ({number(found.low)}–{number(found.high)})"


def bounds_words(found: Figure, unit: str = "/s", *, under: str = "under") -> str:
    """ "812/s (790–830)", "at least 600/s", "under 100/s", or a dash."""
    if found.value is not None:
        ends = f" ({number(found.low)}–{number(found.high)})" if found.low and found.high else ""
        return f"{number(found.value)}{unit}{ends}"
    if found.low is not None and found.high is not None:
        return f"{number(found.low)} to {number(found.high)}{unit}"
    if found.low is not None:
        return f"at least {number(found.low)}{unit}"
    return f"{under} {number(found.high)}{unit}" if found.high is not None else DASH


def latency_words(found: Figure) -> str:
    """As `bounds_words`, in milliseconds without the unit."""
    value, low, high = (None if end is None else end * 1e3 for end in (found.value, found.low, found.high))
    return bounds_words(Figure(value=value, low=low, high=high), "")


def value_words(metric: Metric, value: float | None) -> str:
    if value is None:
        return DASH
    return ms(value) if metric in LATENCIES else number(value)
