"""What `harness calibrate` found: the record behind docs/accuracy.md and `--json`.

`passed` is True, False, or None where there was nothing to judge; then `why` says why.
"""

from __future__ import annotations

from typing import Literal, get_args

from harness.schema.frozen import Frozen
from harness.schema.result import Environment, Interval, Verdict
from harness.schema.scenario import Protocol

Part = Literal["truth", "coverage", "against", "noise"]
PARTS: tuple[Part, ...] = get_args(Part)


class FigureCheck(Frozen):
    """One measured figure beside what it should be. Seconds, or requests a second for `throughput`."""

    name: str
    measured: float | None
    interval_95: Interval | None
    truth: float
    truth_without_wire: float
    """What the theory gives for the queue alone."""
    error: float | None
    """(measured - truth) / truth."""
    passed: bool | None
    why: str | None = None


class TruthCase(Frozen):
    """One queue whose right answer is known, measured over one protocol."""

    name: str
    protocol: Protocol
    description: str
    requests: int
    duration_s: float | None
    wire_s: float
    """Median time of a plain client's request beyond its service: the wire and Triton's front end. The truth
    has all of these times added, not the median."""
    attempts: int
    """Measurements made until one passed harness's own gates and, but once more, the theory."""
    verdict: Verdict
    reasons: tuple[str, ...]
    theory: tuple[FigureCheck, ...]
    """Against queueing theory; empty where there is no formula."""
    path: tuple[FigureCheck, ...]
    """Against a simulation of the same queue over the very requests that were sent."""
    missed: tuple[FigureCheck, ...] = ()
    """Figures off the theory's at an earlier attempt, for which this one was made, with another schedule."""


class CoverageCheck(Frozen):
    """How many of the repeated runs' 95% intervals hold the truth."""

    protocol: Protocol
    figure: str
    truth: float
    """The median of the runs'; each interval is held against its own."""
    runs: int
    supported: int
    """Runs in which the figure had an interval."""
    covered: int
    needed: int
    required: bool = True
    """Whether the runs were long enough for it, so that no answer is a failure."""
    passed: bool | None
    why: str | None = None


class Coverage(Frozen):
    """Repeated short runs of one queue."""

    description: str
    refused: dict[Protocol, int]
    """Runs that harness's own gates refused, which were made again."""
    refusals: tuple[str, ...]
    checks: tuple[CoverageCheck, ...]


class Client(Frozen):
    """Medians over rounds of one client."""

    cpu_us_per_request: float
    throughput_per_s: float
    p50_us: float
    p99_us: float


class Comparison(Frozen):
    """harness beside perf_analyzer on the same server: ours over theirs, medians of the rounds' ratios."""

    protocol: Protocol
    concurrency: int
    rounds: int
    cpu_ratio: float | None
    throughput_ratio: float | None
    p50_ratio: float | None
    p99_ratio: float | None
    harness: Client | None
    perf_analyzer: Client | None
    why: str | None = None
    """Why something is null, or what was tried again."""


class NoisyPoint(Frozen):
    """A point that perf_analyzer's stability rule gave up on, and what harness says of it."""

    protocol: Protocol
    model: str
    concurrency: int
    perf_analyzer: str
    """Its own words."""
    verdict: Verdict
    throughput_per_s: float | None
    throughput_interval_95: Interval | None
    p50_s: float | None
    p50_interval_95: Interval | None
    p99_s: float | None
    p99_interval_95: Interval | None
    reasons: tuple[str, ...]
    lost: bool
    """A figure has neither an interval nor a named reason."""


class Noise(Frozen):
    wanted: int
    tried: int
    """Points offered to perf_analyzer; it called the others stable."""
    points: tuple[NoisyPoint, ...]


class PartRun(Frozen):
    """One time that a part was measured, from begin to end."""

    command: str
    started_at: str
    finished_at: str
    failures: tuple[str, ...] = ()
    """What didn't pass, one sentence each."""


class Calibration(Frozen):
    """Everything; a part that wasn't measured is None."""

    schema_version: Literal[1] = 1
    environment: Environment
    quick: bool
    measured: dict[Part, tuple[PartRun, ...]]
    """Each time that a part was measured. Its figures are those of the last time; the times before are here
    so that nobody measures until it passes without that being seen."""
    truth: tuple[TruthCase, ...] | None = None
    coverage: Coverage | None = None
    against: tuple[Comparison, ...] | None = None
    noise: Noise | None = None
    failures: tuple[str, ...] = ()
    """What didn't pass the last time, and what an interrupt ended, one sentence each."""
