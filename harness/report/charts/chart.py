"""A chart as plotly's JSON, without plotly: plain data that the page embeds and its script draws.

Colours are names that begin with "@" ("@c0", "@ink"); the page's style sheet says what they are in light,
dark and print.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, log10
from typing import Any

Trace = dict[str, Any]

COLOURS = 7
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = {"valid": "circle", "inconclusive": "diamond-open", "invalid": "x-thin-open"}
HATCHES = {"valid": "", "inconclusive": "/", "invalid": "x"}
LOG_FROM = 20.0
"""An axis is logarithmic where its largest value is this many times the smallest."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart. Where `traces` is empty, `note` says why there is nothing to draw."""

    id: str
    title: str
    note: str
    traces: list[Trace] = field(default_factory=list)
    layout: dict[str, Any] = field(default_factory=dict)
    height: int = 420
    by_percentile: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Where given, traces carry `meta.percentile`, and the reader chooses which to see. For each percentile
    its `yaxis`, and under `absent` the points that have none."""


@dataclass(frozen=True, slots=True)
class Style:
    colour: str
    dash: str


def styles(keys: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], Style]:
    """A colour and a dash for each line.

    Where the keys differ in two ways, colour tells the one with more values and dash the other, so that a
    reader sees which lines belong together; otherwise both go round.
    """
    keys = list(dict.fromkeys(keys))
    values = [list(dict.fromkeys(column)) for column in itertools.zip_longest(*keys, fillvalue="")]
    differing = sorted((i for i, v in enumerate(values) if len(v) > 1), key=lambda i: -len(values[i]))
    if len(differing) == 2:
        first, second = differing
        if len(values[first]) <= COLOURS and len(values[second]) <= len(DASHES):
            return {
                k: Style(f"@c{values[first].index(k[first])}", DASHES[values[second].index(k[second])])
                for k in keys
            }
    return {k: style(i) for i, k in enumerate(keys)}


def style(index: int) -> Style:
    return Style(f"@c{index % COLOURS}", DASHES[index // COLOURS % len(DASHES)])


def escaped(text: str) -> str:
    """`text` for plotly, which reads its strings as a small HTML."""
    return escape(text, quote=False)


def axis(title: str, values: Iterable[float], *, zero: bool = True) -> dict[str, Any]:
    """A linear axis from 0, or a logarithmic one with labels at 1, 2 and 5 where the values span far."""
    positive = [v for v in values if v > 0]
    if positive and max(positive) / min(positive) > LOG_FROM:
        ticks = _one_two_five(min(positive), max(positive))
        return {
            "title": {"text": title},
            "type": "log",
            "tickvals": ticks,
            "ticktext": [f"{t:,.10g}" for t in ticks],
        }
    return {"title": {"text": title}, "rangemode": "tozero" if zero else "normal"}


def _one_two_five(low: float, high: float) -> list[float]:
    decades = range(floor(log10(low)) - 1, ceil(log10(high)) + 2)
    steps = (1, 2, 5) if high / low <= 1e4 else (1,)
    return [m * 10.0**d for d, m in itertools.product(decades, steps)]
