"""Where the time of a request goes: one bar a point."""

from __future__ import annotations

from harness.report.answer import point_words
from harness.report.charts.chart import HATCHES, Chart, escaped
from harness.report.format import count, number
from harness.report.page.details import TIME_PARTS
from harness.schema.result import PointResult, RunResult


def breakdown(run: RunResult) -> Chart:
    """Mean milliseconds of a request by where it spent them, one bar a point."""
    note = (
        "Means per request. Client: from the intended send to the actual one. Queue, input, compute and "
        "output: by Triton's own statistics. Network: the rest, that is the wire, Triton's front end, the "
        "client's own handling. Hatched bars: not valid."
    )
    parts = {name: [_ms(p, field) for p in run.points] for name, field in TIME_PARTS.items()}
    without = sum(p.server is None for p in run.points)
    if not run.points:
        return Chart("breakdown", "Where the time goes", "Nothing was measured.")
    if without == len(run.points):
        return Chart(
            "breakdown", "Where the time goes", "Triton's statistics could not be read at any point."
        )
    if without:
        note += f" {count(without, 'point')} without Triton's statistics: no bar."
    labels = [escaped(_bar_label(p)) for p in run.points]
    rows = list(range(len(run.points)))
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "legendgroup": name,
            "y": rows,
            "x": parts[name],
            "marker": {
                "color": f"@{colour}",
                "pattern": {
                    "shape": [HATCHES[p.verdict] for p in run.points],
                    "fillmode": "overlay",
                    "fgcolor": "@paper",
                    "size": 6,
                },
            },
            "hovertext": [
                f"{label}<br>{name}: {number(v)} ms" if v is not None else f"{label}<br>{name}: not observed"
                for label, v in zip(labels, parts[name], strict=True)
            ],
            "hoverinfo": "text",
            "meta": {"legend": name},
        }
        for name, colour in _COLOURS.items()
    ]
    layout = {
        "barmode": "stack",
        "bargap": 0.3,
        "xaxis": {"title": {"text": "mean per request, ms"}, "rangemode": "tozero"},
        "yaxis": {
            "tickvals": rows,
            "ticktext": labels,
            "range": [len(rows) - 0.5, -0.5],
            "automargin": True,
            "showgrid": False,
        },
    }
    return Chart("breakdown", "Where the time goes", note, traces, layout, height=90 + 26 * max(len(rows), 2))


_COLOURS = {"client": "c1", "network": "c4", "queue": "c5", "input": "c2", "compute": "c0", "output": "c3"}


def _ms(point: PointResult, field: str) -> float | None:
    seconds: float | None = getattr(point.time_s, field) if point.time_s and point.server else None
    return None if seconds is None else seconds * 1e3


def _bar_label(point: PointResult) -> str:
    return point_words(point) + ("" if point.verdict == "valid" else f" ({point.verdict})")
