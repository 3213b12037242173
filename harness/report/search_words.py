"""What a search found, in a few sentences and a table: for the terminal and for `summary.md`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import starmap

from harness.report.answer import objective_words
from harness.report.format import DASH, count, ms, number, setting
from harness.schema.percentiles import figure_title, limited_name
from harness.schema.point import Setting
from harness.schema.scenario import Objective
from harness.schema.tune_result import Candidate, Figure, Standing, Step, TuneResult
from harness.schema.tune_section import Goal

ORDER: tuple[Standing, ...] = (
    "best",
    "tied",
    "unlikely",
    "slower",
    "barred",
    "unmeasured",
    "failed",
    "untried",
)
"""In which the configurations are listed; within each, the larger capacity first."""


def headings(result: TuneResult) -> tuple[str, ...]:
    """Of `table`."""
    figure = "capacity/s" if result.goal == "throughput" else f"{cost_name(result)}, {_UNITS[result.goal]}"
    return ("configuration", figure, "99% interval", "p99 ms", "served/s", "stands", "why")


_UNITS: dict[Goal, str] = {"latency": "ms", "energy": "J/inference", "gpu_memory": "MB"}
_IN_UNIT: dict[Goal, float] = {"latency": 1e3, "energy": 1.0, "gpu_memory": 1e-6}


def cost_name(result: TuneResult) -> str:
    """What is to be the least: "p99"."""
    if result.goal == "latency":
        return figure_title(limited_name(Objective(**result.objective)))
    return {"energy": "energy", "gpu_memory": "GPU memory"}[result.goal]


def goal_figure(result: TuneResult, candidate: Candidate) -> Figure:
    """Of a configuration, what the search is about, in the unit of the heading."""
    if result.goal == "throughput":
        return candidate.capacity_per_s
    found = candidate.cost or Figure(value=None, low=None, high=None)

    def in_unit(value: float | None) -> float | None:
        return None if value is None else value * _IN_UNIT[result.goal]

    return Figure(value=in_unit(found.value), low=in_unit(found.low), high=in_unit(found.high))


def cost_figure_words(found: Figure, goal: Goal) -> str:
    """ "12.3 ms (11.9 to 12.8)", of a cost as it is kept."""
    if found.value is None:
        return "not known: the objective is missed"
    ends = [number(end * _IN_UNIT[goal]) for end in (found.low, found.high) if end is not None]
    interval = f" ({' to '.join(ends)})" if len(ends) > 1 else ""
    return f"{number(found.value * _IN_UNIT[goal])} {_UNITS[goal]}{interval}"


def goal_words(result: TuneResult, found: Figure) -> str:
    """ "104 requests/s (98 to 111)", or "p99 12.3 ms (11.9 to 12.8) at 200 requests/s"."""
    if result.goal == "throughput":
        return figure_words(found)
    rate = number(result.rate_per_s or 0.0)
    return f"{cost_name(result)} {cost_figure_words(found, result.goal)} at {rate} requests/s"


def settings_words(settings: Mapping[str, Setting]) -> str:
    """ "max batch 8, instances 2"."""
    return ", ".join(starmap(_setting_words, settings.items())) or "the only configuration"


def _setting_words(path: str, value: Setting) -> str:
    name = setting_name(path)
    return f"{name} {setting(value)} µs" if path.endswith("_us") else f"{name} {setting(value)}"


def setting_name(path: str) -> str:
    """ "queue delay" of server.queue_delay_us."""
    return path.split(".")[-1].removesuffix("_us").replace("_", " ")


def figure_words(found: Figure) -> str:
    """ "104 requests/s (98 to 111)"."""
    if found.value is None:
        return "no rate that was measured"
    if found.low is None or found.high is None:
        return f"{number(found.value)} requests/s"
    return f"{number(found.value)} requests/s ({number(found.low)} to {number(found.high)})"


def excess_words(excess: float) -> str:
    """How far a percentile is from its limit: "1.12 of the limit"."""
    return f"{math.exp(excess):.2f} of the limit"


def told_words(step: Step, goal: Goal = "throughput") -> str:
    """What a measurement told."""
    if step.cost is not None and goal != "throughput":
        return f"{number(step.cost * _IN_UNIT[goal])} {_UNITS[goal]}"
    if step.served_per_s is not None:
        return f"served {number(step.served_per_s)}/s"
    if step.told == "alone" and step.batch_s is not None:
        return f"a request takes {ms(step.batch_s)} ms"
    if step.excess is not None:
        return excess_words(step.excess)
    return f"{step.told}: {step.reason}"


def answer_lines(result: TuneResult) -> Iterator[tuple[str, str]]:
    """(what it is about, a sentence) of each thing to know, the most important first."""
    held = objective_words(Objective(**result.objective))
    if result.best is None or result.recommended is None:
        yield "no answer", result.why or "nothing was measured"
    else:
        yield "recommended", _recommended(result, held)
        if result.recommended != result.best:
            best = result.candidates[result.best]
            yield "as good", f"{settings_words(best.settings)}, which is less simple"
        if result.proof is not None:
            yield "proven", _proven(result)
        if cliff := result.candidates[result.recommended].cliff:
            yield (
                "cliff",
                (
                    f"its latency grows to three times as much or more from {number(cliff[0])} to "
                    f"{number(cliff[1])} requests/s: keep a reserve"
                ),
            )
        if tied := [c for c in result.candidates if c.standing == "tied"]:
            words = "; ".join(settings_words(c.settings) for c in tied[:3])
            more = f" and {len(tied) - 3} more" if len(tied) > 3 else ""
            yield "can't be told from the best", words + more
    yield "search", _search(result)


def _recommended(result: TuneResult, held: str) -> str:
    assert result.recommended is not None
    found = result.candidates[result.recommended]
    figure = _proven_figure(result, result.recommended) or found.cost or found.capacity_per_s
    return f"{settings_words(found.settings)}: {goal_words(result, figure)}{f' with {held}' if held else ''}"


def _proven_figure(result: TuneResult, number_: int) -> Figure | None:
    if result.proof is None:
        return None
    known = result.proof.capacities_per_s if result.goal == "throughput" else result.proof.costs
    found = known.get(str(number_))
    return None if found is None or found.value is None else found


def _proven(result: TuneResult) -> str:
    proof = result.proof
    assert proof is not None
    turns = f"measured once more on a fresh server, {count(proof.turns, 'turn')}"
    if proof.over_default is None:
        what = "it is the default configuration" if result.recommended == result.default else "alone"
        return f"{turns}; {what}"
    ratio, interval = proof.over_default.value, proof.over_default.interval_95
    span = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval is not None else ""
    default = _proven_figure(result, result.default if result.default is not None else -1)
    of = "capacity" if result.goal == "throughput" else cost_name(result)
    has = "holds" if result.goal == "throughput" else "has"
    beside = "" if default is None else f", which {has} {goal_words(result, default)}"
    return f"{turns} with the default configuration{beside}: {ratio:.2f}{span} times its {of}"


def _search(result: TuneResult) -> str:
    tried = [c for c in result.candidates if c.tries]
    counts = {s: sum(c.standing == s for c in result.candidates) for s in ORDER}
    said = ", ".join(f"{n} {s}" for s, n in counts.items() if n)
    measured_s = sum(step.seconds for step in result.steps)
    worth = result.worth_going_on
    more = "" if worth is None else f"; going on would gain {worth:.1%}, about"
    return (
        f"{len(tried)} of {count(len(result.candidates), 'configuration')} tried in "
        f"{count(len(result.steps), 'measurement')} ({measured_s:.0f} s of load, {result.used_s / 60:.1f} of "
        f"{result.budget_s / 60:g} min): {said}{more}"
    )


def table(result: TuneResult) -> list[tuple[str, ...]]:
    """A row for each configuration that was tried, in words, under `HEADINGS`."""
    tried = [c for c in result.candidates if c.tries or c.standing == "failed"]
    return [_row(result, c) for c in sorted(tried, key=order)]


def order(candidate: Candidate) -> tuple[float, float]:
    """To list configurations by: how they stand, then the larger capacity or the lower cost first."""
    if candidate.cost is not None:
        return ORDER.index(candidate.standing), candidate.cost.value or math.inf
    return ORDER.index(candidate.standing), -(candidate.capacity_per_s.value or 0.0)


def _row(result: TuneResult, c: Candidate) -> tuple[str, ...]:
    found = goal_figure(result, c)
    ends = [DASH if end is None else number(end) for end in (found.low, found.high)]
    marks: list[str] = [c.standing]
    marks += ["recommended"] if c.number == result.recommended else []
    marks += ["default"] if c.number == result.default else []
    return (
        settings_words(c.settings),
        DASH if found.value is None else number(found.value),
        f"{ends[0]} to {ends[1]}" if set(ends) != {DASH} else DASH,
        DASH if c.p99_s is None else ms(c.p99_s),
        DASH if c.served_per_s is None else number(c.served_per_s),
        ", ".join(marks),
        c.why or "",
    )
