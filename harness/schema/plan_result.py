"""`plan.json`: how many replicas a demand takes, and how far that can be trusted."""

from __future__ import annotations

from typing import Literal

from harness.schema.frozen import Frozen
from harness.schema.plan_section import Balancer
from harness.schema.point import Setting
from harness.schema.result import Environment

SCHEMA_VERSION: Literal[1] = 1


class Range(Frozen):
    """A figure with its 95% interval; an end is null where nothing that was measured says it."""

    value: float
    low: float | None
    high: float | None


class Count(Frozen):
    """A number of replicas with its 95% interval; an end is null where no number holds the objective."""

    value: int
    low: int | None
    high: int | None


class DemandFigures(Frozen):
    """What has to be served."""

    rate_per_s: float
    """Requests a second at the busiest time, with the growth until the plan's end."""
    today_per_s: float
    inferences_per_request: float
    growth_per_year: float
    years: float
    daily_per_s: tuple[float, ...] | None
    """In equal parts of a day, today; null where only the busiest time is given."""
    arrivals: str
    """How requests are spaced, in words."""


class CheckedPoint(Frozen):
    """A measured point at a rate, beside what the plan's model says of it by all other points."""

    point: str
    rate_per_s: float
    percentile: str
    measured_s: float
    predicted_s: float
    low_s: float
    high_s: float | None
    """The 95% prediction interval; null: without end."""
    held: bool


class TrustFigures(Frozen):
    """How far the prediction is right."""

    correction: float
    """What measured service times were multiplied by, so that the simulation gives the measured latency."""
    factor: float
    """Service times may be so many times as long or as short, at another moment (95%)."""
    checks: tuple[CheckedPoint, ...]


class BatchTime(Frozen):
    """How long an instance takes for a batch, alone."""

    request: str
    batch: int
    seconds: float


class CurvePoint(Frozen):
    """Latency that is expected at a rate."""

    rate_per_s: float
    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    limit_low_s: float
    """Of the percentile that breaks first, with service times as short as they may be, and as long."""
    limit_high_s: float
    limit_s: float
    busy: float
    """The share of time in which an instance computes."""


class Break(Frozen):
    """What is missed when demand grows, and from which rate on."""

    what: str
    """ "p99 ≤ 100 ms", or that the queue grows without end."""
    rate_per_s: float


class PartOfDay(Frozen):
    """Replicas that are needed in a part of the day, those that must be started for what follows included."""

    begins_h: float
    rate_per_s: float
    replicas: int


class Money(Frozen):
    """What the replicas cost, in `currency`."""

    currency: str
    per_hour: float
    per_day: float
    """With as many replicas all day."""
    per_day_scaled: float | None
    """With the replicas that each part of the day needs; null where the day isn't known."""
    per_million_inferences: float
    """Of those that a day has; at the busiest time all day, where the day isn't known."""


class Energy(Frozen):
    joules_per_inference: float
    per_million_inferences_kwh: float
    measured: bool
    """Whether it was measured; else it follows from the power that the hardware file gives."""


class HardwarePlan(Frozen):
    """The plan for one kind of hardware."""

    name: str
    environment: Environment | None
    sources: tuple[str, ...]
    """Folders of the results."""
    configuration: dict[str, Setting | None]
    points_used: int
    left_out: dict[str, int]
    """Why points were left out, with how many."""
    why: str | None
    """What the data can't say; null where there is an answer."""
    remedy: str | None
    """What to measure, then."""
    service: tuple[BatchTime, ...] = ()
    overhead_s: float | None = None
    trust: TrustFigures | None = None
    capacity_per_s: Range | None = None
    """The largest rate that one replica holds."""
    replicas: Count | None = None
    lost: int = 0
    """Replicas of these that may be lost."""
    at_peak: CurvePoint | None = None
    curve: tuple[CurvePoint, ...] = ()
    """All replicas together, by rate."""
    breaks: tuple[Break, ...] = ()
    """The first that breaks comes first."""
    holds_per_s: float | None = None
    """The largest demand that these replicas hold, with headroom and losses."""
    outgrown: str | None = None
    """The day on which growth reaches that; null where it never does."""
    day: tuple[PartOfDay, ...] = ()
    money: Money | None = None
    no_money: str | None = None
    """Why the cost isn't known."""
    energy: Energy | None = None
    extrapolated: int | None = None
    """Inferences in the largest batch that is expected, where none as large was measured."""
    narrows: str | None = None
    """Which measurement would narrow the answer most, and by how much."""


class Verification(Frozen):
    """The predicted rate, on the live server."""

    point: str
    rate_per_s: float
    """Of the replicas that are there."""
    replicas: int
    percentile: str
    measured_s: float | None
    low_s: float
    high_s: float | None
    """The predicted 95% interval."""
    held: bool | None
    """Null where the measurement can't tell."""
    why: str


class PlanResult(Frozen):
    """`plan.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: str
    path: str
    scenario: str
    made_at: str
    harness_version: str
    model: str
    demand: DemandFigures
    objective: dict[str, float]
    balancer: Balancer
    headroom: float
    failures: int
    zones: int | None
    start_up_s: float
    hardware: tuple[HardwarePlan, ...]
    """The cheapest first; without prices the one with the fewest replicas."""
    verification: tuple[Verification, ...] = ()
