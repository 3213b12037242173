"""One measurement of a search in a line, while it goes on."""

from __future__ import annotations

from harness.commands.tuning.search import Search
from harness.report.format import number
from harness.report.search_words import cost_figure_words, figure_words, settings_words, told_words
from harness.schema.tune_result import Step


def step_line(search: Search, step: Step) -> str:
    """ "  12  max batch 8, instances 2 at 410/s: 1.12 of the limit"."""
    load = f"{number(step.rate_per_s)}/s" if step.rate_per_s is not None else f"{step.users} users"
    settings = settings_words(search.configurations[step.candidate])
    return f"{step.number:4}  {settings} at {load}: {told_words(step, search.scenario.tune.goal)}"


def known_words(search: Search, step: Step) -> str:
    """What is known of the configuration that was measured: its capacity, or its cost."""
    found = search.race.candidates[step.candidate].estimate
    if search.is_of_cost:
        cost = found.figure.inverted
        return f"cost {cost_figure_words(cost, search.scenario.tune.goal)}"
    if found.value is None:
        return "capacity " + (
            "not known yet" if found.high is None else f"under {number(found.high)} requests/s"
        )
    return f"capacity {figure_words(found.figure)}"
