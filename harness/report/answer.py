"""The answers in a few sentences: did it hold, how fast is it at best, what limits it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from harness.analysis.objective import Standing, standing
from harness.choice.configurations import complexity, varied
from harness.report.format import count, ms, number, setting, span
from harness.schema.answer import Answer
from harness.schema.percentiles import PERCENTILES, figure_title, limit_key, share
from harness.schema.point import Setting
from harness.schema.result import PointResult, RunResult, Verdict
from harness.schema.scenario import Objective


def verdicts(run: RunResult) -> dict[Verdict, int]:
    """Points by verdict, each verdict present."""
    found = Counter(p.verdict for p in run.points)
    return {verdict: found[verdict] for verdict in get_args(Verdict)}


def verdict_line(run: RunResult) -> str:
    """ "12 of 14 planned points measured: 9 valid, 2 inconclusive, 1 invalid"."""
    counts = ", ".join(f"{n} {v}" for v, n in verdicts(run).items() if n)
    measured, planned = len(run.points), len(run.planned)
    said = (
        count(measured, "point")
        if measured == planned
        else f"{measured} of {count(planned, 'planned point')}"
    )
    return f"{said} measured{': ' if counts else ''}{counts}"


def run_standing(run: RunResult) -> Standing:
    """The worst standing of the valid points; the figures of the others may not be used to judge."""
    found = {standing(p.objective) for p in run.points if p.verdict == "valid"}
    for worst in ("missed", "unknown", "met", "none"):
        if worst in found:
            return worst
    return "unknown" if any(p.objective for p in run.points) else "none"


def objective_line(run: RunResult) -> str:
    """One sentence on the objective and how many of the valid points hold it."""
    limits = next((objective_words(p.point.objective) for p in run.points), "")
    if not limits:
        knee = "; the knee decides, the most throughput over mean latency"
        return "no objective was set" + (knee if _loads(run.points) > 1 else "")
    valid = [p for p in run.points if p.verdict == "valid"]
    if not valid:
        return f"{limits}: can't be judged, because no point is valid"
    asked = valid[0].point.objective
    if any(p.errors for p in valid) and any(getattr(asked, limit_key(name)) for name in PERCENTILES):
        limits += " (a failed request is over every limit)"
    found = Counter(standing(p.objective) for p in valid)
    words: dict[Standing, str] = {"met": "met", "missed": "missed", "unknown": "can't tell"}
    if len(found) == 1:
        (only,) = found
        whole = {1: "the valid point", 2: "both valid points"}.get(
            len(valid), f"all {len(valid)} valid points"
        )
        return f"{limits}: {words[only]} at {whole}"
    split = ", ".join(f"{words[s]} at {found[s]}" for s in words if found[s])
    return f"{limits}: {split} of {count(len(valid), 'valid point')}"


def objective_words(objective: Objective) -> str:
    """ "p99 ≤ 200 ms, errors ≤ 0.1%"; empty without an objective."""
    words = []
    for name in PERCENTILES:
        limit = getattr(objective, limit_key(name))
        if limit is not None:
            words.append(f"{figure_title(name)} ≤ {limit:g} ms")
    if objective.errors is not None:
        words.append(f"errors ≤ {objective.errors * 100:g}%")
    if objective.throughput_per_s is not None:
        words.append(f"throughput ≥ {objective.throughput_per_s:g}/s")
    return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Told:
    """One answer in words. `point` is its best, and null where there is none."""

    workload: str
    """What tells it from the other workloads; empty where there is only one."""
    point: PointResult | None
    line: str
    """Its best point, or why there is none."""
    notes: tuple[str, ...]
    """How sure that is, a clause each."""

    @property
    def name(self) -> str:
        return f"best at {self.workload}" if self.workload else "best"


def named(answers: Sequence[Answer], most: int) -> set[str]:
    """Ids of the points that the answers name, so many in all: of each workload the best, the simplest of its
    ties and the default, then other ties, then what can't be judged."""
    share = max(1, most // max(1, len(answers)))
    found = set[str]()
    for answer in answers:
        wanted = (answer.best, answer.simplest, answer.default, *answer.ties, *answer.undecided)
        found |= set(list(dict.fromkeys(id_ for id_ in wanted if id_ is not None))[:share])
    return found


def told(run: RunResult) -> tuple[Told, ...]:
    """The answers of a run, one for each workload."""
    points = {p.id: p for p in run.points}
    given = varied([answer.workload for answer in run.answers])
    chosen = varied([p.point.configuration for p in run.points])
    return tuple(_told(answer, points, given, chosen) for answer in run.answers)


def overall_line(run: RunResult) -> str:
    """Whether one configuration will do for all workloads; empty where there is one workload or one
    configuration."""
    points = {p.id: p.point.configuration for p in run.points}
    chosen = varied(list(points.values()))
    named_ = [(answer.best, *answer.ties) for answer in run.answers if answer.best is not None]
    if len(named_) < 2 or not chosen:
        return ""
    each = [[points[id_] for id_ in ids] for ids in named_]
    common = [one for one in each[0] if all(one in others for others in each[1:])]
    if not common:
        return "no configuration is the best at every workload"
    simplest = settings_words(min(common, key=lambda one: complexity(one, chosen)), chosen)
    return f"{simplest} is the best at every workload, or can't be told from it"


def _told(
    answer: Answer, points: Mapping[str, PointResult], given: Sequence[str], chosen: Sequence[str]
) -> Told:
    workload = settings_words(answer.workload, given)
    if answer.best is None:
        return Told(workload, None, answer.why or "nothing can be named", ())
    best = points[answer.best]
    rate = number(best.throughput_inferences_per_s or 0.0)
    line = f"{rate} inferences/s{_tail(best)} at {_at(best, chosen)}"
    return Told(workload, best, line, tuple(_notes(answer, points, chosen)))


def _notes(answer: Answer, points: Mapping[str, PointResult], chosen: Sequence[str]) -> Iterator[str]:
    decides = "throughput" if answer.rule == "objective" else "throughput over mean latency"
    if answer.default == answer.best and chosen:
        yield "it is the default configuration"
    if answer.over_default is not None:
        interval = answer.over_default.interval_95
        known = f" ({span(interval, _times)})" if interval else ""
        yield f"{_times(answer.over_default.value)}{known} times the {decides} of the default configuration"
    if answer.ties:
        others = count(len(answer.ties), "other configuration")
        yield f"{others} can't be told from it: {_others(answer, points, chosen)}"
        if answer.simplest == answer.best:
            yield "it is the simplest of them"
        elif answer.simplest is not None:
            simplest = points[answer.simplest].point.configuration
            yield f"the simplest of them is {settings_words(simplest, chosen)}"
    if answer.undecided:
        which = _some(answer.undecided, points, chosen)
        yield f"{count(len(answer.undecided), 'point')} can't be judged and may be better: {which}"
    if answer.at_highest_load and _loads(points.values()) > 1:
        yield "that is the highest load that was tried: it may do more"


_FIRST = 3


def _some(ids: Sequence[str], points: Mapping[str, PointResult], chosen: Sequence[str]) -> str:
    return _listed([_at(points[id_], chosen) for id_ in ids])


def _others(answer: Answer, points: Mapping[str, PointResult], chosen: Sequence[str]) -> str:
    """The ties, by what they have other than the best."""
    assert answer.best is not None
    best = points[answer.best].point
    words = []
    for tie in (points[id_].point for id_ in answer.ties):
        other = [path for path in chosen if tie.configuration.get(path) != best.configuration.get(path)]
        load = "" if tie.load == best.load else tie.load.label
        words.append(", ".join(filter(None, (settings_words(tie.configuration, other), load))))
    return _listed(words)


def _listed(words: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    rest = [f"{len(words) - _FIRST} more"] if len(words) > _FIRST else []
    return "; ".join([*words[:_FIRST], *rest])


def _at(point: PointResult, chosen: Sequence[str]) -> str:
    """Where a point stands within its workload: its configuration and its load."""
    configuration = settings_words(point.point.configuration, chosen)
    return ", ".join(filter(None, (configuration, point.point.load.label)))


def settings_words(settings: Mapping[str, Setting | None], paths: Sequence[str]) -> str:
    """ "max_batch 8, instances 2": of these paths, those that it has."""
    names = short_names(paths)
    known = {path: settings.get(path) for path in paths}
    return ", ".join(f"{names[path]} {setting(value)}" for path, value in known.items() if value is not None)


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """The last part of each dotted path, or as many parts as tell it from the others."""
    paths = list(paths)

    def tail(path: str, parts: int) -> str:
        return ".".join(path.split(".")[-parts:])

    names = {}
    for path in paths:
        others = [p for p in paths if p != path]
        parts = 1
        while parts < len(path.split(".")) and any(tail(o, parts) == tail(path, parts) for o in others):
            parts += 1
        names[path] = tail(path, parts)
    return names


def _loads(points: Iterable[PointResult]) -> int:
    return len({p.point.load.label for p in points})


def _times(value: float) -> str:
    return f"{value:.2f}"


def _tail(point: PointResult) -> str:
    """The highest percentile that the objective limits, else up to p99, of those that are known."""
    limited = [n for n in PERCENTILES if getattr(point.point.objective, limit_key(n)) is not None]
    usual = [name for name in PERCENTILES if share(name) <= 0.99]
    for name in (*reversed(limited), *reversed(usual)):
        value, interval = getattr(point.latency_s, name), point.latency_s.interval_95.get(name)
        if value is not None:
            return f", {figure_title(name)} {ms(value)} ms" + (f" ({span(interval, ms)})" if interval else "")
    return ""


FIRST_ERRORS = 3


def error_lines(point: PointResult) -> list[str]:
    """Why its requests failed, the most frequent reasons first: "1,204 × HTTP 503: busy"."""
    reasons = list(point.error_reasons.items())
    lines = [f"{times:,} × {reason}" for reason, times in reasons[:FIRST_ERRORS]]
    if rest := reasons[FIRST_ERRORS:]:
        lines.append(f"{sum(times for _, times in rest):,} × {count(len(rest), 'other reason')}")
    return lines


def bottleneck_line(point: PointResult) -> str:
    """ "compute: the instance was busy 97% of the time …"; empty where it isn't known."""
    return f"{point.bottleneck.name}: {point.bottleneck.why}" if point.bottleneck else ""


def point_words(point: PointResult) -> str:
    """What tells a point from its neighbours, its load always included."""
    rest = [f"{k.split('.')[-1]} {setting(v)}" for k, v in point.params.items() if not k.startswith("load.")]
    return ", ".join([*rest, point.point.load.label])
