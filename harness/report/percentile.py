"""A percentile in words: its value with the interval, or a lower limit where the sample supports no more."""

from __future__ import annotations

from dataclasses import replace

from harness.analysis.quantile import requests_needed
from harness.report.cell import Cell, missing
from harness.report.format import count, ms, number, span
from harness.schema.percentiles import PERCENTILES, figure_title, share
from harness.schema.result import Latency, RunResult

AT_LEAST = "in 95 of 100 samples the truth is over this; beside it stands the sample's own value"


def percentile_cell(latency: Latency, name: str, succeeded: int) -> Cell:
    """In milliseconds; `succeeded` is the number of requests that the latency is of."""
    value = getattr(latency, name)
    if value is not None:
        return Cell(ms(value), span(latency.interval_95.get(name), ms), order=value)
    why = no_percentile(latency, succeeded, name)
    if name not in latency.at_least:
        return missing(why)
    at_least = latency.at_least[name]
    return Cell(f"≥ {ms(at_least)}", f"sample {ms(latency.sample[name])}", why, at_least)


def figure_cell(latency: Latency, name: str) -> Cell:
    """A percentile, mean, smallest or largest of one point, in milliseconds; with the point's own reason."""
    value = getattr(latency, name)
    if value is None and name not in latency.at_least:
        return missing(latency.unsupported.get(name, "no request succeeded"))
    if value is None:
        return replace(percentile_cell(latency, name, 0), why=latency.unsupported[name])
    return Cell(ms(value), span(latency.interval_95.get(name), ms))


def no_percentile(latency: Latency, succeeded: int, name: str) -> str:
    """Why a percentile of that many successes is null; the same words for all points that are too short."""
    needed = requests_needed(share(name))
    if 0 < succeeded < needed:
        return f"a {figure_title(name)} takes at least {needed:,} requests"
    return latency.unsupported.get(name, f"the sample can't support a {figure_title(name)}")


def settling(latency: Latency, name: str) -> str:
    """ "some 14 s more of this load would settle it"; empty where it isn't known."""
    more_s = latency.more_s.get(name)
    return "" if more_s is None else f"some {number(more_s, 2)} s more of this load would settle it"


def settling_line(run: RunResult) -> str:
    """What would settle every open percentile up to the p99, in words; empty where none is open."""
    wanted = {
        name: [p.latency_s.more_s[name] for p in run.points if name in p.latency_s.more_s]
        for name in PERCENTILES
        if share(name) <= 0.99
    }
    open_ = {name: more_s for name, more_s in wanted.items() if more_s}
    if not open_:
        return ""
    name = max(open_, key=lambda name: (len(open_[name]), share(name)))
    longest_s = max(max(more_s) for more_s in open_.values())
    return (
        f"{count(len(open_[name]), 'point')} without a {figure_title(name)}: some {number(longest_s, 2)} s "
        "more (measure.duration_s, or measure.at_most_s) would settle it"
    )
