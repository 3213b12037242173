"""What a run answers of one workload: which configuration, at which load, and how sure that is."""

from __future__ import annotations

from typing import Literal

from harness.schema.frozen import Frozen
from harness.schema.point import Setting

Rule = Literal["objective", "knee"]
"""What decides: the highest throughput that holds the objective or, without one, the knee of throughput over
latency. Both are in `harness.choice.scores`."""


class Ratio(Frozen):
    """What decides, of the best over the default configuration's best. The interval is at once with all
    comparisons of the workload a 95% one, so it holds 1 where the two can't be told apart; null where one of
    them has none."""

    value: float
    interval_95: tuple[float, float] | None


class Answer(Frozen):
    """Of one workload. Points are named by their ids; a configuration stands for itself by its best point."""

    workload: dict[str, Setting | None]
    """What was given, by dotted path."""
    rule: Rule
    best: str | None
    """The point that the rule prefers, at its best load; null where no point may be named."""
    why: str | None
    """Why there is no best."""
    ties: tuple[str, ...] = ()
    """Other configurations that the intervals can't tell from the best, the better ones first."""
    simplest: str | None = None
    """The best or one of its ties: the one that departs least from the defaults."""
    undecided: tuple[str, ...] = ()
    """Points that can't be judged (invalid, inconclusive, across the objective) and may be better: those of
    further configurations that aren't told to be less, and those of the ones above that are more."""
    at_highest_load: bool = False
    """Whether the best one's load is the highest that its configuration was given: it may do more."""
    default: str | None = None
    """The default configuration's best point: every setting that the run varies is at its default."""
    over_default: Ratio | None = None
    """Null where the default configuration wasn't measured, holds nowhere, or is the best itself."""
