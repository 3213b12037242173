"""Points as marks on a latency axis: joined by lines where they are valid, apart and hollow where not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.answer import point_words
from harness.report.charts.chart import SYMBOLS, Trace, escaped
from harness.report.format import ms, number, span
from harness.report.percentile import figure_cell
from harness.schema.percentiles import figure_title
from harness.schema.result import Interval, Latency, PointResult


@dataclass(frozen=True, slots=True)
class Mark:
    """A point, or one request class of it, somewhere on an axis."""

    line: tuple[str, ...]
    x: float
    x_interval: Interval | None
    latency: Latency
    label: str
    point: PointResult


def joined(marks: Sequence[Mark]) -> list[Mark | None]:
    """The valid marks, with a gap wherever one that isn't valid stands between two."""
    return [m if m.point.verdict == "valid" else None for m in marks]


def apart(marks: Sequence[Mark]) -> list[Mark | None]:
    """The other marks, a gap between each two."""
    return [part for m in marks if m.point.verdict != "valid" for part in (m, None)]


def trace_of(marks: Sequence[Mark | None], percentile: str, labelled: bool) -> Trace | None:
    def value(mark: Mark | None) -> float | None:
        seconds: float | None = getattr(mark.latency, percentile) if mark else None
        return None if seconds is None else seconds * 1e3

    values = [value(m) for m in marks]
    if all(v is None for v in values):
        return None
    intervals = [m.latency.interval_95.get(percentile) if m else None for m in marks]
    trace: Trace = {
        "type": "scatter",
        "mode": "lines+markers+text" if labelled else "lines+markers",
        "connectgaps": False,
        "x": [m.x if m else None for m in marks],
        "y": values,
        "marker": {
            "size": 8,
            "symbol": [SYMBOLS[m.point.verdict] if m else "circle" for m in marks],
        },
        "error_y": _bars(values, [(i[0] * 1e3, i[1] * 1e3) if i else None for i in intervals]),
        "error_x": _bars([m.x if m else None for m in marks], [m.x_interval if m else None for m in marks]),
        "hovertext": [_hover(m, percentile) if m else "" for m in marks],
        "hoverinfo": "text",
    }
    if labelled:
        trace |= {
            "text": [escaped(m.label) if m else "" for m in marks],
            "textposition": "top left",
            "textfont": {"size": 11},
        }
    return trace


def _bars(values: Sequence[float | None], intervals: Sequence[Interval | None]) -> dict[str, Any]:
    pairs = [
        (v, i) if v is not None and i is not None else None for v, i in zip(values, intervals, strict=True)
    ]
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(p[1][1] - p[0], 0) if p else None for p in pairs],
        "arrayminus": [max(p[0] - p[1][0], 0) if p else None for p in pairs],
        "thickness": 1,
        "width": 3,
    }


def _hover(mark: Mark, percentile: str) -> str:
    p = mark.point
    value = getattr(mark.latency, percentile)
    if value is None:
        cell = figure_cell(mark.latency, percentile)
        said = (
            f"{figure_title(percentile)} {cell.text} ms ({cell.small})"
            if cell.small
            else f"no {figure_title(percentile)}"
        )
        return escaped(f"{point_words(p)}: {said}: {cell.why}")
    lines = [f"<b>{escaped(point_words(p))}</b>", f"{figure_title(percentile)} {ms(value)} ms"]
    interval = mark.latency.interval_95.get(percentile)
    if interval:
        lines[-1] += f" ({span(interval, ms)})"
    if p.throughput_inferences_per_s is not None:
        lines.append(f"{number(p.throughput_inferences_per_s)} inferences/s")
    if p.bottleneck is not None:
        lines.append(f"bottleneck: {p.bottleneck.name}")
    lines.append(p.verdict)
    lines += [escaped(r) for r in p.reasons]
    return "<br>".join(lines)


def limit(marks: Sequence[Mark], percentile: str, from_x: float) -> Iterator[Trace]:
    limit = getattr(marks[0].point.point.objective, f"{percentile}_ms")
    if limit is not None:
        yield {
            "type": "scatter",
            "mode": "lines",
            "x": [from_x, max(m.x for m in marks)],
            "y": [limit, limit],
            "name": "objective",
            "legendgroup": "objective",
            "line": {"color": "@ink", "dash": "longdash", "width": 1},
            "hovertext": f"objective: {figure_title(percentile)} ≤ {number(limit)} ms",
            "hoverinfo": "text",
            "meta": {
                "percentile": percentile,
                "legend": f"objective: {figure_title(percentile)} ≤ {number(limit)} ms",
            },
        }


def name_of(mark: Mark) -> str:
    kind = mark.line[0]
    return f"{kind} of {point_words(mark.point)}" if kind else point_words(mark.point)
