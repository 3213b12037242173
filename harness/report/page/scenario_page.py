"""The page of a scenario in the site: its nights' verdicts, and each figure of each point over time.

It is drawn when it is written. Its one script says what lies under the pointer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from harness.plain_text import quoted
from harness.report import format
from harness.report.page.page import script_hash, script_json, templates, text
from harness.report.page.trend_chart import (
    FIGURES,
    HIGH,
    WIDE,
    Axis,
    Mark,
    TrendChart,
    axis_of,
    environment_changes,
    trend_chart,
)
from harness.schema.history_result import HistoryRun, TrendSeries
from harness.schema.night_result import Baseline
from harness.version import version

BADGE = {
    "pass": "valid",
    "improved": "valid",
    "valid": "valid",
    "met": "met",
    "found": "valid",
    "regressed": "invalid",
    "invalid": "invalid",
    "missed": "missed",
    "inconclusive": "inconclusive",
    "no baseline": "none",
}
"""The look of an outcome."""

MOST_VALUES = 15_000
"""Values of one metric that a page draws, shared out among its points, so that it stays under 3 MB."""

LEAST_VALUES = 30
"""Of them for each point, however many there are."""

MOST_SERIES = 150
"""Points that a page draws; the others are in `harness history trend`."""

MOST_LISTED = 200
"""Nights in the table, the newest; all of them are marks."""

MOST_CHANGES = 60
"""Changes of the environment that a chart marks, the newest."""

LONGEST = 200
"""Characters of a name."""


class ScenarioTrends(NamedTuple):
    """All that the page of a scenario is made of."""

    scenario: str
    runs: Sequence[HistoryRun]
    """Its runs and nights, the newest first."""
    trends: Mapping[str, Sequence[TrendSeries]]
    """By metric."""
    judged: Mapping[tuple[str, str], Mapping[str, tuple[str, str]]]
    """By point and metric, then by the night's folder: that it regressed or improved, and why."""
    baselines: Sequence[Baseline]
    hrefs: Mapping[str, str]
    """The page of a run, by its folder, where it has one."""


class PointTrends(NamedTuple):
    """One point with one model on one machine."""

    name: str
    where: str
    charts: Sequence[TrendChart]
    environment: Sequence[Mark]
    older: int
    """Values of before that are left out."""


class _Key(NamedTuple):
    point: str
    model: str | None
    host: str | None
    hardware: str | None


def scenario_html(of: ScenarioTrends) -> str:
    """The page's text. A scenario without any figure has its nights and no chart."""
    axis = axis_of([run.started_at for run in of.runs])
    series = _by_point(of.trends)
    shown = dict(list(series.items())[:MOST_SERIES])
    most = max(LEAST_VALUES, MOST_VALUES // max(len(shown), 1))
    points = [_point(key, metrics, axis, of, most) for key, metrics in shown.items()]
    nights = [run for run in of.runs if run.kind == "nightly"]
    script = text("trends.js")
    return (
        templates()
        .get_template("scenario.html.j2")
        .render(
            name=quoted(of.scenario, LONGEST) or "?",
            scenario=of.scenario,
            maker=version(),
            style=Markup(text("page.css") + text("site.css")),
            script=Markup(script),
            hash=script_hash(script),
            data=Markup(script_json(_data(of, shown, axis, most))),
            points=points,
            left_out=len(series) - len(shown),
            nights=nights,
            verdicts=[_verdict(night, axis, of.hrefs) for night in nights],
            baselines=[_baseline(each, axis) for each in of.baselines],
            accepted=of.baselines,
            hrefs=of.hrefs,
            badge=BADGE,
            first=of.runs[-1].started_at,
            last=of.runs[0].started_at,
            most_listed=MOST_LISTED,
            longest=LONGEST,
            quoted=quoted,
            wide=WIDE,
            high=HIGH,
            format=format,
        )
    )


def _by_point(trends: Mapping[str, Sequence[TrendSeries]]) -> dict[_Key, dict[str, TrendSeries]]:
    """The series of each point by metric; points that were measured last come first."""
    found: dict[_Key, dict[str, TrendSeries]] = {}
    for metric in FIGURES:
        for each in trends.get(metric, ()):
            key = _Key(each.point, each.model, each.host, each.hardware)
            found.setdefault(key, {})[metric] = each

    def newest(key: _Key) -> str:
        return max(each.values[-1].started_at for each in found[key].values())[:10]

    return dict(sorted(found.items(), key=lambda item: newest(item[0]), reverse=True))


def _point(
    key: _Key, metrics: Mapping[str, TrendSeries], axis: Axis, of: ScenarioTrends, most: int
) -> PointTrends:
    longest = max(metrics.values(), key=lambda each: len(each.values))
    charts = [
        trend_chart(metric, _newest(each, most), axis, of.judged.get((key.point, metric), {}), of.hrefs)
        for metric, each in metrics.items()
    ]
    return PointTrends(
        name=quoted(key.point, LONGEST),
        where=", ".join(quoted(each, LONGEST) for each in key[1:] if each),
        charts=charts,
        environment=list(environment_changes(_newest(longest, most), axis))[-MOST_CHANGES:],
        older=max(0, len(longest.values) - most),
    )


def _newest(series: TrendSeries, most: int) -> TrendSeries:
    return series.model_copy(update={"values": series.values[-most:]})


def _verdict(night: HistoryRun, axis: Axis, hrefs: Mapping[str, str]) -> Mark:
    title = f"{format.when(night.started_at)}: {night.outcome}" + (f", {night.why}" if night.why else "")
    place = axis.at(night.started_at) or 0.0
    return Mark(100 * place, quoted(title), look=night.outcome.split()[0], href=hrefs.get(night.folder))


def _baseline(baseline: Baseline, axis: Axis) -> Mark | None:
    place = axis.at(baseline.accepted_at)
    title = f"{format.when(baseline.accepted_at)}: baseline accepted, {baseline.reason}"
    return None if place is None else Mark(place * 100, quoted(title), look="accepted")


def _data(
    of: ScenarioTrends, shown: Mapping[_Key, Mapping[str, TrendSeries]], axis: Axis, most: int
) -> dict[str, Any]:
    """What the script says of what lies under the pointer: the runs, and each chart's values."""
    number = {run.folder: index for index, run in enumerate(of.runs)}
    runs = [
        [
            round(WIDE * (axis.at(run.started_at) or 0.0)),
            f"{format.when(run.started_at)}, {quoted(run.folder, LONGEST)}: {run.outcome}",
            of.hrefs.get(run.folder, ""),
        ]
        for run in of.runs
    ]
    orders: dict[tuple[int, ...], int] = {}
    charts = []
    for metrics in shown.values():
        for metric, series in metrics.items():
            values = series.values[-most:]
            order = tuple(number[each.folder] for each in values)
            scale = SCALES.get(metric, (1.0, ""))
            ends = [each.interval_95 or (None, None) for each in values]
            charts.append(
                {
                    "runs": orders.setdefault(order, len(orders)),
                    "unit": scale[1],
                    "values": [_short(each.value, scale[0]) for each in values],
                    "low": [_short(low, scale[0]) for low, _ in ends] if any(ends[0]) else [],
                    "high": [_short(high, scale[0]) for _, high in ends] if any(ends[0]) else [],
                }
            )
    return {"runs": runs, "orders": list(orders), "charts": charts}


SCALES = {
    "p50": (1e3, "ms"),
    "p99": (1e3, "ms"),
    "throughput": (1.0, "/s"),
    "error_rate": (100.0, "%"),
    "gpu_memory": (2**-20, "MiB"),
    "energy": (1.0, "J/inference"),
}
"""In which unit the script says a metric, and by what its values are multiplied for it."""


def _short(value: float | None, scale: float) -> float | None:
    return None if value is None else float(f"{value * scale:.4g}")
