"""The answer in a few sentences: did it hold, how fast is it at best, what limits it."""

from __future__ import annotations

from collections import Counter
from typing import get_args

from harness.analysis.objective import Standing, standing
from harness.report.format import count, ms, number, setting, span
from harness.schema.percentiles import PERCENTILES, figure_title, limit_key, share
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
        return "no objective was set"
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


def best(run: RunResult) -> PointResult | None:
    """The valid point with the highest throughput among those that hold the objective, if there is one."""
    fit = [
        p
        for p in run.points
        if p.verdict == "valid"
        and standing(p.objective) in ("met", "none")
        and p.throughput_inferences_per_s is not None
    ]
    return max(fit, key=lambda p: p.throughput_inferences_per_s or 0.0, default=None)


def best_line(run: RunResult) -> str:
    """The best point in words, or why there is none."""
    point = best(run)
    if point is None:
        return "no valid point holds the objective" if run.points else "nothing was measured"
    rate = number(point.throughput_inferences_per_s or 0.0)
    return f"{rate} inferences/s{_tail(point)} at {point_words(point)}"


def _tail(point: PointResult) -> str:
    """The highest percentile up to p99 that there is, with its interval."""
    for name in reversed([name for name in PERCENTILES if share(name) <= 0.99]):
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
