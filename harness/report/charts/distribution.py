"""The whole distribution of latency: every percentile of each point, tails included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.report.answer import point_words
from harness.report.charts.chart import Chart, Trace, axis, escaped, style
from harness.report.page.series import PointSeries
from harness.schema.result import RunResult

MOST_CURVES = 12
"""Curves shown before the reader asks for more."""


def percentile_curves(run: RunResult, series: Mapping[str, PointSeries]) -> Chart:
    """Latency at every percentile, on HdrHistogram's axis: each ten times rarer request takes equal room."""
    drawn = [p for p in run.points if p.id in series and series[p.id].quantiles.of]
    if not drawn:
        return Chart("percentiles", "Latency by percentile", "No request succeeded at any point.")
    first = {p.id for p in sorted(drawn, key=lambda p: p.verdict != "valid")[:MOST_CURVES]}
    traces: list[Trace] = []
    for index, p in enumerate(drawn):
        curve = series[p.id].quantiles
        rarity = 1 / (1 - curve.share)
        latency_ms = curve.latency_s * 1e3
        # Fewer than ten requests lie above a tail's values: drawn, but faint.
        split = int((rarity < curve.of / 10).sum())
        look = style(index)
        verdict = "" if p.verdict == "valid" else f" ({p.verdict})"
        for part, faint in ((slice(0, split + 1), False), (slice(split, None), True)):
            if rarity[part].size == 0:
                continue
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": escaped(point_words(p) + verdict),
                    "legendgroup": p.id,
                    "x": _round(rarity[part].tolist()),
                    "y": _round(latency_ms[part].tolist()),
                    "line": {
                        "color": look.colour,
                        "dash": look.dash,
                        "width": 2 if p.verdict == "valid" else 1,
                    },
                    "opacity": 0.35 if faint else 1,
                    "hovertemplate": "%{y:.3~f} ms, 1 request in %{x:.4~r} is slower",
                    "meta": {"legend": point_words(p) + verdict, "hidden": p.id not in first},
                }
            )
    shares = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999, 0.9999999]
    layout = {
        "hovermode": "closest",
        "xaxis": {
            "title": {"text": "percentile of requests"},
            "type": "log",
            "tickvals": [1 / (1 - s) for s in shares],
            "ticktext": [f"{s * 100:.7g}%" for s in shares],
        },
        "yaxis": axis("latency, ms", [v for t in traces for v in t["y"]]),
    }
    note = (
        "Every request that succeeded after the initial transient. Faint: fewer than ten requests are slower."
    )
    if len(drawn) > MOST_CURVES:
        note += f" {MOST_CURVES} of {len(drawn)} curves are shown; choose others in the legend."
    return Chart("percentiles", "Latency by percentile", note, traces, layout)


def _round(values: Sequence[float]) -> list[float]:
    return [float(f"{v:.5g}") for v in values]
