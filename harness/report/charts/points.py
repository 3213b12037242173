"""Latency against throughput, data size and batch: the charts with a mark for each point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from harness.report.answer import short_names
from harness.report.charts.chart import Chart, Trace, axis, escaped, styles
from harness.report.charts.marks import Mark, apart, joined, limit, name_of, trace_of
from harness.report.format import setting
from harness.schema.percentiles import PERCENTILES, figure_title, share
from harness.schema.result import PointResult, RunResult

MOST_LABELS = 40
"""Marks that carry their load as text; with more, it is read by pointing at them."""
MARKS = (
    "Filled marks are valid points; open diamonds are inconclusive, crosses invalid, and no line joins them."
)


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


def latency_throughput(run: RunResult) -> Chart:
    """One line a configuration, its points in the order of their load."""
    points = sorted(run.points, key=lambda p: p.point.load.shape.size or 0)
    names = _line_names(run)
    marks = [
        Mark(
            line=_line(p, names, without=lambda path: path.startswith("load.")),
            x=p.throughput_inferences_per_s,
            x_interval=p.throughput_interval_95,
            latency=p.latency_s,
            label=p.point.load.short_label,
            point=p,
        )
        for p in points
        if p.throughput_inferences_per_s is not None
    ]
    labels = "The number at a mark is its load. " if len(marks) <= MOST_LABELS else ""
    return _latency_figure(
        "curve",
        "Latency against throughput",
        f"One line a configuration, in order of load. {labels}Bars are 95% intervals. {MARKS}",
        marks,
        axis("throughput, inferences/s", [m.x for m in marks]),
        objective=True,
    )


def latency_size(run: RunResult) -> Chart:
    """Latency against the number of elements of one input item: tokens, height × width, …"""
    names = _line_names(run)
    marks = [
        Mark(
            line=_line(p, names, without=_axis_of(c.name), kind=c.name if len(p.classes) > 1 else None),
            x=prod(c.axes.values()),
            x_interval=None,
            latency=c.latency_s,
            label="×".join(str(s) for s in c.axes.values()),
            point=p,
        )
        for p in run.points
        for c in p.classes
        if c.axes
    ]
    titles = dict.fromkeys("×".join(m) for m in (tuple(c.axes) for p in run.points for c in p.classes) if m)
    return _against("size", "Latency against data size", marks, " or ".join(titles), "data size")


def latency_batch(run: RunResult) -> Chart:
    """Latency against the inferences in one request."""
    names = _line_names(run)
    marks = [
        Mark(
            line=_line(
                p,
                names,
                without=_batch_of(c.name),
                kind=c.name if len(p.classes) > 1 else None,
            ),
            x=c.batch,
            x_interval=None,
            latency=c.latency_s,
            label=str(c.batch),
            point=p,
        )
        for p in run.points
        for c in p.classes
    ]
    return _against("batch", "Latency against batch", marks, "batch of one request, inferences", "batch")


def latency_max_batch(run: RunResult) -> Chart:
    """Latency against the server's largest batch, which the dynamic batcher fills from several requests."""
    names = _line_names(run)
    marks = [
        Mark(
            line=_line(p, names, without=lambda path: path == "server.max_batch"),
            x=most,
            x_interval=None,
            latency=p.latency_s,
            label=str(most),
            point=p,
        )
        for p in run.points
        if (most := p.point.server.max_batch) is not None
    ]
    title = "Latency against the server's largest batch"
    return _against("max_batch", title, marks, "max_batch of the server", "max_batch")


def _against(name: str, title: str, marks: Sequence[Mark], axis_title: str, what: str) -> Chart:
    values = sorted({m.x for m in marks})
    if len(values) < 2:
        only = f": every request had {marks[0].label}" if values else ""
        return Chart(name, title, f"The {what} doesn't vary in this run{only}.")
    ordered = sorted(marks, key=lambda m: m.x)
    x = axis(axis_title, values)
    x |= {"tickvals": values, "ticktext": [escaped(next(m.label for m in marks if m.x == v)) for v in values]}
    note = f"One line for everything else that varies. Bars are 95% intervals. {MARKS}"
    return _latency_figure(name, title, note, ordered, x)


def _latency_figure(
    name: str, title: str, note: str, marks: Sequence[Mark], x: dict[str, Any], *, objective: bool = False
) -> Chart:
    if not marks:
        return Chart(name, title, "No request succeeded at any point.")
    looks = styles([m.line for m in marks])
    labelled = objective and len(marks) <= MOST_LABELS
    traces: list[Trace] = []
    for percentile in PERCENTILES:
        for line, look in looks.items():
            mine = [m for m in marks if m.line == line]
            for group in (joined(mine), apart(mine)):
                trace = trace_of(group, percentile, labelled)
                if trace is None:
                    continue
                legend = ", ".join(w for w in line if w) or "all points"
                trace |= {"name": escaped(legend), "legendgroup": legend}
                trace["line"] = {"color": look.colour, "dash": look.dash, "width": 2}
                trace["marker"] |= {"color": look.colour, "line": {"color": look.colour, "width": 2}}
                trace["meta"] = {"percentile": percentile, "legend": legend}
                traces.append(trace)
        if objective:
            traces += limit(marks, percentile, from_x=min(m.x for m in marks) if "type" in x else 0.0)
    choices = {}
    for percentile in PERCENTILES:
        drawn = [v for t in traces if t["meta"]["percentile"] == percentile for v in t["y"] if v is not None]
        without = dict.fromkeys(name_of(m) for m in marks if getattr(m.latency, percentile) is None)
        choices[percentile] = {
            "yaxis": axis(f"{figure_title(percentile)} latency, ms", drawn),
            "absent": list(without),
        }
    layout = {"hovermode": "closest", "xaxis": x}
    return Chart(name, title, note, traces, layout, by_percentile=choices)


def _line_names(run: RunResult) -> dict[str, str]:
    return short_names(dict.fromkeys(path for p in run.points for path in p.params))


def _line(
    point: PointResult,
    names: Mapping[str, str],
    *,
    without: Callable[[str], bool],
    kind: str | None = None,
) -> tuple[str, ...]:
    """Everything that tells a line from its neighbours: what varies, less what the axis shows."""
    varied = tuple(
        f"{names[path]} {setting(value)}" for path, value in point.params.items() if not without(path)
    )
    return (kind or "", *varied)


def _axis_of(name: str) -> Callable[[str], bool]:
    prefix = f"requests.{name}."
    return lambda path: path.startswith(prefix) and path != f"{prefix}batch"


def _batch_of(name: str) -> Callable[[str], bool]:
    return lambda path: path == f"requests.{name}.batch"
