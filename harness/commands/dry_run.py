"""`harness run --dry-run`: the points, and how long they would take."""

from __future__ import annotations

from itertools import pairwise

from harness import terminal
from harness.model.check import runs_code
from harness.schema.frozen import Frozen
from harness.schema.served_model import Served
from harness.store.scenario_file import LoadedScenario

POINT_OVERHEAD_S = 0.5
RELOAD_S = 1.5
START_S = 5.0
"""What a point, a change of the server's settings and a run cost beyond the load itself."""

UNCHECKED = "a function makes the model, and was not run: whether the request classes fit it was not checked"


class PlannedPoint(Frozen):
    id: str
    label: str
    params: dict[str, str | int | float | bool]
    load: str


class Plan(Frozen):
    """What `harness run --dry-run` prints."""

    scenario: str
    model: str
    points: tuple[PlannedPoint, ...]
    expected_s: float
    """Seconds where every point is precise enough after `duration_s`; without downloads and the export of a
    model that isn't in the cache yet."""
    longest_s: float
    """The same where every point needs `at_most_s`."""
    unchecked: str | None = None
    """What only a run itself can tell, in words."""


def plan(loaded: LoadedScenario) -> Plan:
    measure = loaded.scenario.measure
    served = [(point.dtype, point.server) for point in loaded.points]
    changes = 1 + sum(a != b for a, b in pairwise(served))
    fixed_s = START_S + changes * RELOAD_S + (measure.warmup_s + POINT_OVERHEAD_S) * len(loaded.points)
    at_most_s = [(p.load.steady_by_design and measure.at_most_s) or measure.duration_s for p in loaded.points]
    return Plan(
        scenario=loaded.name,
        model=str(loaded.scenario.model),
        points=tuple(
            PlannedPoint(id=p.id, label=p.label, params=p.params, load=p.load.label) for p in loaded.points
        ),
        expected_s=fixed_s + measure.duration_s * len(loaded.points),
        longest_s=fixed_s + sum(at_most_s),
        unchecked=_unchecked(loaded.scenario.model),
    )


def _unchecked(model: str | Served) -> str | None:
    if isinstance(model, Served):
        return "only its server knows what the model takes: whether the request classes fit was not checked"
    return UNCHECKED if runs_code(model) else None


def show(plan: Plan) -> None:
    for number, point in enumerate(plan.points, start=1):
        terminal.say(f"{number:4}  {point.id}  {point.label}")
    time = _words(plan.expected_s)
    if plan.longest_s > plan.expected_s:
        time += f", {_words(plan.longest_s)} at most"
    if plan.unchecked:
        terminal.say(plan.unchecked)
    terminal.say(f"{len(plan.points)} points of {plan.scenario} on {plan.model}: about {time}")


def _words(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
