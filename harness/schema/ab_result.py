"""What `harness ab` and `harness nightly` find: two arms, point by point and metric by metric."""

from __future__ import annotations

from typing import Literal

from harness.schema.frozen import Frozen
from harness.schema.model import Model
from harness.schema.point import Setting
from harness.schema.regression_section import Metric, Regression
from harness.schema.result import Environment

Outcome = Literal["pass", "regressed", "improved", "inconclusive"]

Part = Literal["client", "network", "queue", "input", "compute", "output"]
"""Where a request spends its time, as in a point's `time_s`."""


class Change(Frozen):
    """A figure of the candidate beside the baseline's. The interval holds at all times at once with a
    probability of 95%, however often rounds were added."""

    value: float
    """As a share of the baseline's; of the error rate, the difference. Above 0 is more."""
    interval_95: tuple[float, float] | None


class MetricVerdict(Frozen):
    metric: Metric
    outcome: Outcome
    why: str
    """In words, what decided, or what would settle it."""
    baseline: float | None
    """Its value, the mean of the rounds."""
    candidate: float | None
    change: Change | None
    rounds: tuple[float, ...] = ()
    """The change in each round."""
    margin: float
    """The change that matters."""
    smallest: float | None
    """The smallest change that these rounds would have found."""
    e_value: float | None = None
    """How much speaks against there being no change; None where nights decide."""
    p_value: float | None = None
    """Where nights decide, how probable such nights are if nothing changed."""
    more_s: float | None = None
    """How much more of this load would settle it, about; None where it is settled, or nothing would."""


class Moved(Frozen):
    """How much longer a request spends in a part, on average, as a share of the baseline's whole time."""

    part: Part
    change: Change
    told: bool
    """Whether it is told from no change."""


class PointVerdict(Frozen):
    point: str
    """Its name, without what differs between rounds."""
    params: dict[str, Setting]
    outcome: Outcome
    metrics: tuple[MetricVerdict, ...]
    moved: tuple[Moved, ...]
    """The parts by how much they moved, the most first."""
    rounds: int
    left_out: dict[str, int]
    """Why rounds don't count, and how many."""
    measured_s: float
    """How long it took, of both arms."""


ArmName = Literal["baseline", "reference", "candidate"]


class ArmFigures(Frozen):
    """What was compared."""

    name: ArmName
    scenario: str
    """The file's name without its ending."""
    models: tuple[Model, ...]
    environment: Environment | None
    """None where nothing was measured."""
    samples: str
    """Its run's folder, relative to the comparison's."""


class Comparison(Frozen):
    """`ab.json`: all that is known of two arms, whole after each round."""

    schema_version: Literal[1] = 1
    run_id: str
    path: str
    started_at: str
    """UTC, ISO 8601."""
    finished_at: str | None
    """None of one that was cut off, or goes on."""
    harness_version: str
    terms: Regression
    in_turns: bool
    """Whether the arms were loaded in turns, side by side; else one after the other."""
    nights: tuple[str, ...] | None = None
    """The run ids of the nights that the candidate was judged by, where the baseline's build couldn't be run:
    the first arm is then a reference, which each of them had too. None where the first arm is the
    baseline."""
    arms: tuple[ArmFigures, ArmFigures]
    differs: dict[str, tuple[str, str]]
    """What isn't the same in both, by name: the baseline's, then the candidate's."""
    points: tuple[PointVerdict, ...]
    outcome: Outcome
    measured_s: float
    """From the first start of the servers to the verdict."""
