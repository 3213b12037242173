"""`tune.json`: a search for the best configuration, and what it found. It is rewritten after each step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.schema.answer import Ratio
from harness.schema.frozen import Frozen
from harness.schema.point import Setting
from harness.schema.result import Environment
from harness.schema.tune_section import Goal

SCHEMA_VERSION: Literal[1] = 1

Stage = Literal["search", "proof"]
"""`proof`: the winner and the default configuration once more, on a fresh server, in turns."""

Settings = dict[str, Setting]
"""The settings that vary, by dotted path."""


class Figure(Frozen):
    """A figure with its interval; an end is null where nothing was measured that says it."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def inverted(self) -> Figure:
        """One over it: of one over a cost, the cost."""
        value, low, high = (None if end is None else 1 / end for end in (self.value, self.high, self.low))
        return Figure(value=value, low=low, high=high)


class Step(Frozen):
    """One measurement, in the order in which they were made."""

    number: Annotated[int, Field(ge=1)]
    stage: Stage
    candidate: int
    """Number of the configuration among `candidates`."""
    rate_per_s: float | None
    """Open loop at this rate; null: a closed loop of `users` users, as many as saturate it, or one."""
    users: int | None
    seconds: float
    """Length of the measured phase."""
    why: str
    """What it was to tell."""
    point: str | None
    """Id of the measured point; null where none came to be."""
    told: Literal["served", "alone", "rated", "unusable", "failed", "barred"]
    served_per_s: float | None = None
    """Of a saturated one: requests a second, with the standard error."""
    served_error: float | None = None
    excess: float | None = None
    """Of one at a rate: the logarithm of the percentile over its limit, the worst of all limits; negative
    where all of them hold. With its standard error."""
    excess_error: float | None = None
    cost: float | None = None
    """Of a goal at a rate: seconds, joules an inference or bytes, with the standard error of its
    logarithm."""
    cost_error: float | None = None
    batch: float | None = None
    """Inferences in a batch, on average."""
    batch_s: float | None = None
    """How long a batch took, on average."""
    reason: str | None = None
    """Why it can't be used, or why the configuration failed."""
    took_s: float
    """With everything around it: the server's reconfiguration, warm-up, and what follows the load."""


Standing = Literal["best", "tied", "slower", "unlikely", "failed", "barred", "unmeasured", "untried"]
"""Of a configuration: the best; one that can't be told from it; one whose interval says that it is slower;
one that was measured and may hardly be the best, by its likeness to others; one that the server refused, or
that ended it; one past a constraint; one whose measurements couldn't be used; one that was never measured."""


class Candidate(Frozen):
    """One configuration."""

    number: int
    settings: Settings
    standing: Standing
    why: str | None
    """Why it left the race, in words."""
    capacity_per_s: Figure
    """The largest request rate at which it holds the objective, with a 99% interval; of a goal at a rate no
    value is known."""
    cost: Figure | None = None
    """Of a goal at a rate, what is to be the least, with a 99% interval: seconds, joules an inference or
    bytes."""
    served_per_s: float | None
    """What it served when it was saturated, requests a second."""
    foreseen_per_s: float | None
    """What its capacity was expected to be in the end, by simulation and likeness."""
    cliff: tuple[float, float] | None
    """Two rates, at most 10% apart, between which the percentile grows to three times as much or more."""
    measured_s: float
    tries: int
    at: str | None
    """The point that was measured nearest to its capacity, for the figures below."""
    p50_s: float | None = None
    p99_s: float | None = None
    memory_bytes: int | None = None
    """Memory that the server held: of the GPU where it computes on one, else of the host."""
    energy_j_per_inference: float | None = None
    on_front: bool = False
    """Whether no other has a larger capacity, a lower median, less memory and less energy at once."""


class Proof(Frozen):
    """Capacities that were measured once more, on a fresh server, in turns, and by nothing else: what the
    search saw of the winner is the best of many looks, and so too good (the winner's curse)."""

    turns: int
    capacities_per_s: dict[str, Figure]
    """With a 95% interval each, by the number of the configuration."""
    costs: dict[str, Figure] = Field(default_factory=dict)
    """The same of a goal at a rate."""
    over_default: Ratio | None
    """The recommended configuration's capacity or cost over the default one's; null where the default wasn't
    measured or is the recommended one."""


class TuneResult(Frozen):
    """`tune.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: str
    path: str
    scenario: str
    started_at: str
    finished_at: str | None
    """Null while the search goes on, or where it was cut off."""
    objective: dict[str, float]
    goal: Goal = "throughput"
    rate_per_s: float | None = None
    """At which the goal's figure shall be the least."""
    budget_s: float
    used_s: float
    """From the first start of the server to the answer, sittings together."""
    environment: Environment | None = None
    fixed: dict[str, Setting | None]
    """Settings that don't vary, by dotted path."""
    default: int | None
    """Number of the configuration with every setting at its default."""
    best: int | None
    """The one with the largest capacity; null where none holds the objective."""
    recommended: int | None
    """The simplest of the best one and those that can't be told from it."""
    why: str | None
    """Why there is no best one, with the nearest that was seen."""
    decided: bool
    """Whether the search ended because no other can be better, and not because its time was over."""
    worth_going_on: float | None
    """By how much more the best capacity is expected to be if the search went on, as a share."""
    proof: Proof | None
    candidates: tuple[Candidate, ...]
    steps: tuple[Step, ...]
