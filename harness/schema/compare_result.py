"""`compare.json`: what machines serve of one scenario, as ratios to the first of them."""

from __future__ import annotations

from typing import Literal

from harness.schema.frozen import Frozen
from harness.schema.point import Setting
from harness.schema.result import Environment
from harness.schema.tune_result import Figure

SCHEMA_VERSION: Literal[1] = 1

UnfairName = Literal[
    "model",
    "parity",
    "dtype",
    "requests",
    "load",
    "objective",
    "length",
    "limits",
    "tuning",
    "invalid",
    "client",
    "unfinished",
]
"""Why a comparison is unfair, by the name that `--allow` takes."""

Standing = Literal["more", "less", "not told apart", "not known"]
"""Of a ratio: its interval is over 1, under 1, holds 1; or there is no interval that says."""

Metric = Literal["capacity", "capacity_per_gpu", "throughput", "p50", "p99", "energy", "cost"]
"""`capacity`: requests a second under the objective; `energy`: joules of the GPUs an inference; `cost`: of a
million inferences at the capacity, in the comparison's currency."""

Weight = Literal["subject", "may explain", "hardly matters"]
"""Of a difference between environments: it is what is compared; it could be why a figure differs though it
is no part of the hardware; it changes little."""


class Unfair(Frozen):
    """One reason why runs can't be compared fairly."""

    name: UnfairName
    why: str


class RatioToReference(Frozen):
    """One figure of a machine over the reference's, with a 95% interval where both have one. An end is null
    where nothing was measured that says it."""

    metric: Metric
    at: str
    """Where: "at the objective", or a load that both had."""
    reference: float | None
    value: float | None
    ratio: Figure
    standing: Standing
    why: str | None = None
    """Why it isn't known."""


class FrontierRatio(Frozen):
    """The latency of a machine over the reference's, at a throughput that lies between measured points of
    both."""

    percentile: Literal["p50", "p99"]
    throughput_per_s: float
    ratio: Figure
    standing: Standing


class LoadPoint(Frozen):
    """What a machine did under one load with one configuration, its runs together."""

    load: str
    open_loop: bool
    configuration: dict[str, Setting | None]
    throughput_per_s: Figure
    """Requests a second."""
    p50_s: Figure
    p99_s: Figure
    energy_j_per_inference: Figure
    """Of the GPUs, as their driver counted it; no value where none did."""
    although: tuple[UnfairName, ...] = ()
    """What of the point itself was allowed: it is invalid, or the client held it back."""


class MachineFigures(Frozen):
    """One machine's figures of one workload."""

    configuration: dict[str, Setting | None]
    """The one that the machine's ratios are of: its best."""
    capacity_per_s: Figure
    """The largest request rate at which the objective holds, with a 95% interval. Without an upper end it
    held at each rate that was measured; without a value and a lower one, at none."""
    capacity_why: str
    """What the capacity is by, or why there is none."""
    cost_per_million: Figure
    """Inferences at the capacity."""
    points: tuple[LoadPoint, ...]
    ratios: tuple[RatioToReference, ...] = ()
    frontier: tuple[FrontierRatio, ...] = ()


class WorkloadComparison(Frozen):
    """One workload on every machine, in the order of `machines`."""

    workload: dict[str, Setting | None]
    limits_s: dict[str, float]
    """The objective's, by percentile."""
    figures: tuple[MachineFigures, ...]
    although: tuple[UnfairName, ...] = ()
    """What was allowed by name: it holds for every ratio and point here."""


class ComparedRun(Frozen):
    """One of a machine's runs."""

    run_id: str
    path: str
    scenario: str
    command: Literal["run", "tune"]
    started_at: str


class ComparedMachine(Frozen):
    """Runs whose environments differ in nothing that could matter."""

    name: str
    device: Literal["cpu", "gpu", "unknown"]
    """What the model was computed on."""
    gpus: int | None
    """How many it was computed on; null for a CPU, parts of a GPU, and where it isn't known."""
    price_per_hour: float | None
    """Of the whole machine, as the user said."""
    runs: tuple[ComparedRun, ...]
    environment: Environment
    """Of its first run."""


class EnvironmentDifference(Frozen):
    """What of the environments isn't the same."""

    name: str
    """Its dotted path in `environment.json`."""
    values: tuple[str, ...]
    """By machine."""
    weight: Weight


class Unsaid(Frozen):
    """A question that a reader may have and the data can't answer."""

    question: str
    why: str


class HardwareComparison(Frozen):
    """`compare.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: str
    path: str
    made_at: str
    harness_version: str
    model: str
    objective: dict[str, float]
    currency: str
    machines: tuple[ComparedMachine, ...]
    """The first one is the reference."""
    workloads: tuple[WorkloadComparison, ...]
    allowed: tuple[Unfair, ...]
    """What is unfair of it, and was allowed by name."""
    environment: tuple[EnvironmentDifference, ...]
    unsaid: tuple[Unsaid, ...]
    conclusive: bool
    """Whether some ratio is told from 1 and, where a latency is limited, every capacity has both its ends."""
    why: str | None
    """Why it isn't conclusive."""
