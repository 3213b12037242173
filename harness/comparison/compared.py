"""Every machine's figures of each workload, and what they are over the reference's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.choice.workloads import by_workload
from harness.comparison.capacities import Capacity, capacity_of
from harness.comparison.load_points import LATENCIES, frontier_ratios, latency_of, load_points
from harness.comparison.ratios import NONE, pooled, ratio, standing
from harness.comparison.subject import Subject, configuration_of
from harness.schema.compare_result import (
    ComparedMachine,
    LoadPoint,
    MachineFigures,
    Metric,
    RatioToReference,
    UnfairName,
    WorkloadComparison,
)
from harness.schema.point import Setting
from harness.schema.result import PointResult
from harness.schema.tune_result import Figure
from harness.tuning.told import limits

AT_OBJECTIVE, NEAR_CAPACITY = "at the objective", "near its capacity"
Configuration = dict[str, Setting | None]


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine and the runs that were made of it."""

    record: ComparedMachine
    subjects: Sequence[Subject]

    @property
    def workloads(self) -> list[list[list[PointResult]]]:
        """Of each workload, in an order that is every machine's, the points of each run."""
        of_runs = [sorted(by_workload(each.points), key=_workload) for each in self.subjects]
        return [list(runs) for runs in zip(*of_runs, strict=False)]


def compared(machines: Sequence[Machine], although: Sequence[UnfairName]) -> tuple[WorkloadComparison, ...]:
    """The first machine is the reference; `although`: what is unfair and was allowed."""
    found = []
    for of_machines in zip(*(machine.workloads for machine in machines), strict=False):
        figures = [_figures(machine, runs) for machine, runs in zip(machines, of_machines, strict=True)]
        over = [
            each.model_copy(
                update={
                    "ratios": tuple(_ratios(each, figures[0], machine, machines[0])),
                    "frontier": tuple(frontier_ratios(each.points, figures[0].points)),
                }
            )
            for machine, each in zip(machines[1:], figures[1:], strict=True)
        ]
        first = of_machines[0][0][0].point
        found.append(
            WorkloadComparison(
                workload=first.workload,
                limits_s={f"p{share * 100:g}": limit for share, limit in limits(first.objective).items()},
                figures=(figures[0], *over),
                although=tuple(although),
            )
        )
    return tuple(found)


def _workload(points: Sequence[PointResult]) -> str:
    return str(sorted(points[0].point.workload.items()))


def _figures(machine: Machine, runs: Sequence[Sequence[PointResult]]) -> MachineFigures:
    configuration, capacity = _best(machine, runs)
    first = runs[0][0].point
    weights = sum(kind.weight for kind in first.requests)
    inferences = sum(kind.weight * kind.batch for kind in first.requests) / weights
    return MachineFigures(
        configuration=configuration,
        capacity_per_s=capacity.figure,
        capacity_why=capacity.why,
        cost_per_million=_cost(machine.record.price_per_hour, capacity.figure, inferences),
        points=tuple(load_points(runs)),
    )


def _best(machine: Machine, runs: Sequence[Sequence[PointResult]]) -> tuple[Configuration, Capacity]:
    """The configuration with the largest capacity; where none has one, the first run's answer."""
    configurations = {str(configuration_of(point)): configuration_of(point) for run in runs for point in run}
    found = []
    for key, configuration in configurations.items():
        of_runs = [[p for p in run if str(configuration_of(p)) == key] for run in runs]
        each = [capacity_of(s, points) for s, points in zip(machine.subjects, of_runs, strict=True)]
        why = each[0].why if len(each) == 1 else f"{len(each)} runs, the first {each[0].why}"
        found.append((configuration, Capacity(pooled([one.figure for one in each]), why)))
    best = max(found, key=lambda one: one[1].figure.value or one[1].figure.low or 0.0)
    if best[1].figure != NONE:
        return best
    answers = {answer.best for answer in machine.subjects[0].run.answers}
    named = next((configuration_of(point) for point in runs[0] if point.id in answers), found[0][0])
    return next(each for each in found if each[0] == named)


def _cost(price_per_hour: float | None, capacity: Figure, inferences: float) -> Figure:
    if not price_per_hour:
        return NONE

    def of(rate: float | None) -> float | None:
        return None if not rate else price_per_hour / (rate * inferences * 3600) * 1e6

    return Figure(value=of(capacity.value), low=of(capacity.high), high=of(capacity.low))


def _ratios(
    one: MachineFigures, reference: MachineFigures, machine: Machine, first: Machine
) -> Iterator[RatioToReference]:
    capacities = one.capacity_per_s, reference.capacity_per_s
    if capacities != (NONE, NONE):
        yield _ratio("capacity", AT_OBJECTIVE, *capacities, "a capacity isn't bracketed")
        gpus = machine.record.gpus, first.record.gpus
        if gpus[0] and gpus[1] and gpus[0] != gpus[1]:
            shares = _over(capacities[0], gpus[0]), _over(capacities[1], gpus[1])
            yield _ratio("capacity_per_gpu", AT_OBJECTIVE, *shares, "a capacity isn't bracketed")
    costs = one.cost_per_million, reference.cost_per_million
    if NONE not in costs:
        yield _ratio("cost", AT_OBJECTIVE, *costs, "a capacity isn't bracketed")
    near = _near_capacity(one), _near_capacity(reference)
    if near[0] and near[1]:
        energies = near[0].energy_j_per_inference, near[1].energy_j_per_inference
        if NONE not in energies:
            yield _ratio("energy", NEAR_CAPACITY, *energies, _ONE_LOOK)
    yield from _at_equal_load(one, reference)


_ONE_LOOK = "a counter has no interval, and several runs of each machine would give it one"
_UNSUPPORTED = "a sample doesn't support the percentile, or has no interval"


def _at_equal_load(one: MachineFigures, reference: MachineFigures) -> Iterator[RatioToReference]:
    """Each with its own best configuration, under the loads that both had."""
    of_reference = {point.load: point for point in _own(reference)}
    for point in _own(one):
        other = of_reference.get(point.load)
        if other is None:
            continue
        at = f"at {point.load}"
        if not point.open_loop:
            yield _ratio("throughput", at, point.throughput_per_s, other.throughput_per_s, "no interval")
        for name in LATENCIES:
            latencies = latency_of(point, name), latency_of(other, name)
            if latencies != (NONE, NONE):
                yield _ratio(name, at, *latencies, _UNSUPPORTED)
        energies = point.energy_j_per_inference, other.energy_j_per_inference
        if NONE not in energies:
            yield _ratio("energy", at, *energies, _ONE_LOOK)


def _own(figures: MachineFigures) -> list[LoadPoint]:
    return [point for point in figures.points if point.configuration == figures.configuration]


def _near_capacity(figures: MachineFigures) -> LoadPoint | None:
    """The point with the largest throughput that the capacity allows."""
    capacity = figures.capacity_per_s.value or figures.capacity_per_s.low
    if capacity is None:
        return None
    below = [p for p in _own(figures) if (p.throughput_per_s.value or 0.0) <= capacity * 1.02]
    return below[-1] if below else None


def _ratio(metric: Metric, at: str, one: Figure, reference: Figure, unknown: str) -> RatioToReference:
    of = ratio(one, reference)
    told = standing(of)
    return RatioToReference(
        metric=metric,
        at=at,
        reference=reference.value,
        value=one.value,
        ratio=of,
        standing=told,
        why=unknown if told == "not known" else None,
    )


def _over(figure: Figure, gpus: int) -> Figure:
    value, low, high = (None if v is None else v / gpus for v in (figure.value, figure.low, figure.high))
    return Figure(value=value, low=low, high=high)
