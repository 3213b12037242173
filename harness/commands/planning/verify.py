"""`harness plan --verify`: the predicted rate on the live server, and whether the prediction held."""

from __future__ import annotations

import numpy as np

from harness.analysis.quantile import requests_needed
from harness.commands.planning.asked import Asked
from harness.commands.planning.chosen import Chosen
from harness.commands.planning.evidence import sent_of
from harness.commands.planning.live import Live
from harness.planning.replica import served
from harness.report.format import ms
from harness.schema.percentiles import name_of
from harness.schema.plan_result import Verification
from harness.schema.result import PointResult

MOST_S = 300.0

ENOUGH = 2.0
"""Requests, over those that independent ones would take to support the percentile."""


def verify(live: Live, model: Chosen, asked: Asked, replicas: int) -> Verification:
    """One replica, at its share of the demand, beside what the simulation says of the very requests that were
    sent. Raises ServerError."""
    rate = float(f"{asked.peak_per_s / replicas:.4g}")
    limited, _ = asked.first_limit
    usual_s = live.loaded.scenario.measure.duration_s
    found = live.rated(rate, min(MOST_S, max(usual_s, ENOUGH * requests_needed(limited) / rate)))
    sent = sent_of(live.folder, found.point)
    low_s, high_s = (
        float(np.quantile(served(model.replica.scaled(scale), sent.due_s, sent.kinds)[0], limited))
        for scale in (1 / model.trust.factor, model.trust.factor)
    )
    name = name_of(limited)
    held, why = _judged(found, name, low_s, high_s)
    return Verification(
        point=found.id,
        rate_per_s=rate,
        replicas=1,
        percentile=name,
        measured_s=_measured(found, name),
        low_s=low_s,
        high_s=high_s,
        held=held,
        why=why,
    )


def _measured(found: PointResult, name: str) -> float | None:
    value: float | None = getattr(found.latency_s, name)
    return value


def _judged(found: PointResult, name: str, low_s: float, high_s: float) -> tuple[bool | None, str]:
    """Whether what was measured is what was predicted. An interval that is partly in it doesn't tell."""
    if found.verdict == "invalid":
        return None, f"the point is invalid: {found.reasons[0]}"
    predicted = f"{ms(low_s)} to {ms(high_s)} ms"
    interval, at_least = found.latency_s.interval_95.get(name), found.latency_s.at_least.get(name)
    value = _measured(found, name)
    if value is None:
        if at_least is not None and at_least > high_s:
            return False, f"the {name} is over {ms(at_least)} ms, and {predicted} were predicted"
        return None, f"the sample doesn't support a {name}: {found.latency_s.unsupported.get(name, '')}"
    if low_s <= value <= high_s:
        return True, f"the {name} is {ms(value)} ms, and {predicted} were predicted"
    apart = interval is None or interval[1] < low_s or interval[0] > high_s
    words = f"the {name} is {ms(value)} ms"
    if interval is not None:
        words += f" ({ms(interval[0])} to {ms(interval[1])})"
    return (False if apart else None), f"{words}, and {predicted} were predicted"
