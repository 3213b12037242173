"""One measurement of a search in a line, while it goes on."""

from __future__ import annotations

import math

from harness.commands.tuning.search import Search
from harness.report.format import ms, number
from harness.report.search_words import figure_words, settings_words
from harness.schema.tune_result import Figure, Step


def step_line(search: Search, step: Step) -> str:
    """ "  12  max batch 8, instances 2 at 410/s: p99 at 1.12 of its limit"."""
    load = f"{number(step.rate_per_s)}/s" if step.rate_per_s is not None else f"{step.users} users"
    return (
        f"{step.number:4}  {settings_words(search.configurations[step.candidate])} at {load}: {_told(step)}"
    )


def _told(step: Step) -> str:
    if step.served_per_s is not None:
        return f"served {number(step.served_per_s)}/s"
    if step.told == "alone" and step.batch_s is not None:
        return f"a request takes {ms(step.batch_s)} ms"
    if step.excess is not None:
        return f"{math.exp(step.excess):.2f} of the limit"
    return f"{step.told}: {step.reason}"


def capacity_words(search: Search, step: Step) -> str:
    """What is known of the capacity of the configuration that was measured."""
    found = search.race.candidates[step.candidate].estimate
    if found.value is None:
        return "not known yet" if found.high is None else f"under {number(found.high)} requests/s"
    return figure_words(Figure(value=found.value, low=found.low, high=found.high))
