"""What the page's charts, filters and heat maps know of each point: plain data that its scripts draw.

Latency is in milliseconds. A figure that isn't known is null.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from harness.choice.configurations import varied
from harness.choice.workloads import by_configuration, by_workload
from harness.report.answer import point_words, settings_words, short_names, told
from harness.report.format import setting
from harness.report.rows import objective_standing
from harness.schema.percentiles import PERCENTILES, figure_title, limit_key, share
from harness.schema.result import Latency, PointResult, RunResult

TIME_PARTS = {
    "client": "client_s",
    "network": "network_s",
    "queue": "queue_s",
    "input": "input_s",
    "compute": "compute_s",
    "output": "output_s",
}
"""Where a request spends its time, in order, and the fields of TimeSplit."""


def overview(run: RunResult) -> dict[str, Any]:
    """Of the whole run: the `settings` to filter by, the `workloads` with their answers, and the `points`."""
    workload_of = {p.id: i for i, group in enumerate(by_workload(run.points)) for p in group}
    configuration_of = {p.id: i for i, group in enumerate(by_configuration(run.points)) for p in group}
    chosen = varied([p.point.configuration for p in run.points])
    return {
        "settings": _settings(run.points),
        "workloads": [
            {
                "name": each.workload,
                "rule": answer.rule,
                "best": answer.best,
                "ties": answer.ties,
            }
            for each, answer in zip(told(run), run.answers, strict=True)
        ],
        "configurations": [
            settings_words(group[0].point.configuration, chosen) for group in by_configuration(run.points)
        ],
        "limits": _limits(run.points),
        "titles": {name: figure_title(name) for name in PERCENTILES},
        "points": [_point(p, workload_of[p.id], configuration_of[p.id]) for p in run.points],
    }


def default_percentile(run: RunResult) -> str:
    """The percentile to show first: the objective's, else the highest up to p99, that four in five points
    have."""
    usable = [p for p in run.points if p.verdict != "invalid"]
    named = [c.name.removesuffix("_ms") for p in usable for c in p.objective if c.name.endswith("_ms")]
    usual = [name for name in PERCENTILES if 0.5 < share(name) <= 0.99]
    for name in (*sorted(set(named), reverse=True), *reversed(usual)):
        have = sum(getattr(p.latency_s, name) is not None for p in usable)
        if have and have >= 0.8 * len(usable):
            return name
    return "p50"


def percentiles(run: RunResult) -> list[str]:
    """What can be chosen: every percentile that some point has."""
    return [
        n for n in PERCENTILES if n == "p50" or any(getattr(p.latency_s, n) is not None for p in run.points)
    ]


def _settings(points: Sequence[PointResult]) -> list[dict[str, Any]]:
    """Everything that varies, what is given first; the load by its name, whatever of it varies."""
    params = dict.fromkeys(path for p in points for path in p.params if not path.startswith("load."))
    given = [path for path in params if any(path in p.point.workload for p in points)]
    names = short_names(params)
    found: list[dict[str, Any]] = [
        {
            "name": names[path],
            "path": path,
            "role": "workload" if path in given else "configuration",
            "values": _in_order(p.params[path] for p in points if path in p.params),
        }
        for path in (*given, *(path for path in params if path not in given))
    ]
    loads = {p.point.load.label: p.point.load.shape.size or 0.0 for p in points}
    found.append(
        {
            "name": "load",
            "path": "load",
            "role": "load",
            "values": sorted(loads, key=lambda each: loads[each]),
        }
    )
    verdicts: list[str] = sorted({p.verdict for p in points}, reverse=True)
    found.append({"name": "verdict", "path": "verdict", "role": "verdict", "values": verdicts})
    return [each for each in found if len(each["values"]) > 1]


def _in_order(values: Any) -> list[str]:
    """Each once, in words; numbers by size, others as they came."""
    found = list(dict.fromkeys(values))
    if all(isinstance(value, int | float) for value in found):
        found.sort()
    return [setting(value) for value in found]


def _limits(points: Sequence[PointResult]) -> dict[str, float]:
    limits = {name: getattr(p.point.objective, limit_key(name)) for p in points[:1] for name in PERCENTILES}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _point(p: PointResult, workload: int, configuration: int) -> dict[str, Any]:
    split = p.time_s if p.server is not None else None
    values = {path: setting(value) for path, value in p.params.items() if not path.startswith("load.")}
    return {
        "id": p.id,
        "words": point_words(p),
        "workload": workload,
        "configuration": configuration,
        "values": values | {"load": p.point.load.label, "verdict": p.verdict},
        "load": p.point.load.short_label,
        "size": p.point.load.shape.size,
        "standing": objective_standing(p),
        "reasons": p.reasons,
        "throughput": _digits(p.throughput_inferences_per_s),
        "interval": _interval(p.throughput_interval_95),
        "mean": _ms(p.latency_s.mean),
        "latency": _latency(p.latency_s),
        "at_least": _at_least(p.latency_s),
        "bottleneck": p.bottleneck.name if p.bottleneck else None,
        "parts": None if split is None else {n: _ms(getattr(split, f)) for n, f in TIME_PARTS.items()},
        "classes": [
            {
                "name": c.name if len(p.classes) > 1 else "",
                "elements": prod(c.axes.values()) if c.axes else None,
                "axes": "×".join(c.axes),
                "sizes": "×".join(str(size) for size in c.axes.values()),
                "batch": c.batch,
                "latency": _latency(c.latency_s),
            }
            for c in p.classes
        ],
    }


def _latency(latency: Latency) -> dict[str, list[float | None]]:
    """By percentile that is known: its value and its interval."""
    return {
        name: [_ms(value), *(_ms(end) for end in latency.interval_95.get(name, (None, None)))]
        for name in PERCENTILES
        if (value := getattr(latency, name)) is not None
    }


def _at_least(latency: Latency) -> dict[str, list[float | None]]:
    """By percentile that is open: its lower limit, and the sample's own value."""
    return {name: [_ms(limit), _ms(latency.sample.get(name))] for name, limit in latency.at_least.items()}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else _digits(seconds * 1e3)


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _interval(interval: tuple[float, float] | None) -> list[float | None] | None:
    return None if interval is None else [_digits(end) for end in interval]
