"""Where the time of a request goes, by Triton's own statistics: one bar a point."""

from __future__ import annotations

from harness.report.answer import point_words
from harness.report.figure import HATCHES, Figure, plain
from harness.report.words import count, number
from harness.schema.result import PointResult, RunResult


def breakdown(run: RunResult) -> Figure:
    """Mean milliseconds of a request by where it spent them, one bar a point."""
    note = (
        "Means per request, by Triton's own statistics. Client and network is the mean from the actual send "
        "to the last byte, less Triton's request time. Hatched bars: not valid."
    )
    parts: dict[str, list[float | None]] = {name: [] for name in _PARTS}
    for p in run.points:
        for name, seconds in _parts(p).items():
            parts[name].append(None if seconds is None else seconds * 1e3)
    without = sum(p.server is None for p in run.points)
    if not run.points:
        return Figure("breakdown", "Where the time goes", "Nothing was measured.")
    if without == len(run.points):
        return Figure(
            "breakdown", "Where the time goes", "Triton's statistics could not be read at any point."
        )
    if without:
        note += f" {count(without, 'point')} without Triton's statistics: no bar."
    labels = [plain(_bar_label(p)) for p in run.points]
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
        for name, colour in _PARTS.items()
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
    return Figure(
        "breakdown", "Where the time goes", note, traces, layout, height=90 + 26 * max(len(rows), 2)
    )


_PARTS = {
    "client and network": "c4",
    "queue": "c5",
    "compute: input": "c2",
    "compute: inference": "c0",
    "compute: output": "c3",
    "rest of Triton": "c6",
}


def _parts(point: PointResult) -> dict[str, float | None]:
    """Mean seconds by part. A difference under 0 is two clocks' noise, and not observed."""
    server, mean = point.server, point.service_s.mean
    queue, put, infer, out, whole = (
        (getattr(server, f"{n}_s") if server else None)
        for n in ("queue", "compute_input", "compute_infer", "compute_output", "request")
    )
    client = mean - whole if mean is not None and whole is not None else None
    inside = (queue, put, infer, out)
    known = [v for v in inside if v is not None]
    rest = whole - sum(known) if whole is not None and len(known) == len(inside) else None
    differences = [None if d is None or d < 0 else d for d in (client, rest)]
    return dict(zip(_PARTS, (differences[0], *inside, differences[1]), strict=True))


def _bar_label(point: PointResult) -> str:
    return point_words(point) + ("" if point.verdict == "valid" else f" ({point.verdict})")
