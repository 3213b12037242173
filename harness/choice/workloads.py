"""One answer for each workload of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from harness.analysis.objective import standing
from harness.choice.configurations import complexity, is_default, varied
from harness.choice.scores import Score, rule_of, score
from harness.choice.told_apart import is_more, ratio
from harness.schema.answer import Answer, Rule
from harness.schema.result import PointResult


def answers(points: Sequence[PointResult]) -> tuple[Answer, ...]:
    """In the order in which the workloads first appear among the points."""
    rule = rule_of(tuple(points))
    chosen = varied([point.point.configuration for point in points])
    return tuple(_answer(group, rule, chosen) for group in by_workload(points))


def by_workload(points: Iterable[PointResult]) -> list[list[PointResult]]:
    """The points of each workload, in the order of the run."""
    return _grouped(points, lambda point: point.point.workload)


def by_configuration(points: Iterable[PointResult]) -> list[list[PointResult]]:
    """The points of each configuration, in the order of the run."""
    return _grouped(points, lambda point: point.point.configuration)


def _grouped(
    points: Iterable[PointResult], of: Callable[[PointResult], Mapping[str, object]]
) -> list[list[PointResult]]:
    groups: dict[tuple[tuple[str, object], ...], list[PointResult]] = {}
    for point in points:
        groups.setdefault(tuple(sorted(of(point).items())), []).append(point)
    return list(groups.values())


def _answer(points: Sequence[PointResult], rule: Rule, chosen: Sequence[str]) -> Answer:
    """Of the points of one workload."""
    configurations = by_configuration(points)
    scores = [[s for point in each if (s := score(point, rule)) is not None] for each in configurations]
    candidates = [max(held, key=_log) for each in scores if (held := [s for s in each if s.fit == "holds"])]
    workload = points[0].point.workload
    if not candidates:
        return Answer(workload=workload, rule=rule, best=None, why=_why_none(points, rule))
    of = len(configurations)
    best = max(candidates, key=_log)
    ties = [each for each in candidates if each is not best and not is_more(best, each, of)]
    named = [best.point.point.configuration, *(each.point.point.configuration for each in ties)]
    undecided = [
        s
        for each in scores
        for s in each
        if s.fit == "open"
        and (is_more(s, best, of) if s.point.point.configuration in named else not is_more(best, s, of))
    ]
    simplest = min((best, *ties), key=lambda s: complexity(s.point.point.configuration, chosen))
    default = next((s for s in candidates if is_default(s.point.point.configuration, chosen)), None)
    return Answer(
        workload=workload,
        rule=rule,
        best=best.point.id,
        why=None,
        ties=tuple(s.point.id for s in sorted(ties, key=_log, reverse=True)),
        simplest=simplest.point.id,
        undecided=tuple(s.point.id for s in sorted(undecided, key=_log, reverse=True)),
        at_highest_load=_at_highest_load(best.point, points),
        default=None if default is None else default.point.id,
        over_default=None if default is None or default is best else ratio(best, default, of),
    )


def _log(score: Score) -> float:
    return score.log


def _at_highest_load(best: PointResult, points: Iterable[PointResult]) -> bool:
    size = best.point.load.shape.size
    sizes = [p.point.load.shape.size for p in points if p.point.configuration == best.point.configuration]
    return size is not None and all(each is not None and each <= size for each in sizes)


def _why_none(points: Sequence[PointResult], rule: Rule) -> str:
    """Why no point may be named, with how many there are of each kind."""
    kinds = Counter(
        p.verdict
        if p.verdict != "valid"
        else {"missed": "missed it", "unknown": "can't tell"}.get(
            standing(p.objective), "without a figure to go by"
        )
        for p in points
    )
    found = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    subject = "no valid point holds the objective" if rule == "objective" else "no point is valid"
    return f"{subject}: {found}"
