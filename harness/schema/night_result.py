"""What a night found, and the baseline that it was compared with."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from harness.schema.ab_result import Comparison, Outcome, Part
from harness.schema.frozen import Frozen
from harness.schema.model import Model
from harness.schema.regression_section import Metric
from harness.schema.result import Environment

NightOutcome = Outcome | Literal["no baseline"]


class Baseline(Frozen):
    """`baseline.json`: a build that later ones are compared with, and that is kept so that it can be run."""

    schema_version: Literal[1] = 1
    scenario: str
    """The file's name without its ending."""
    accepted_at: str
    """UTC, ISO 8601."""
    reason: str
    """In the words of whoever accepted it."""
    night: str | None
    """Whose candidate it was; None of one that no night was compared with."""
    harness_version: str
    resolved: JsonValue
    """The scenario, with overrides applied and defaults filled in."""
    models: tuple[Model, ...]
    """Their `onnx_path` is relative to the baseline's folder."""
    environment: Environment | None
    """Where it was accepted; None where nothing was measured."""


class BaselineFigures(Frozen):
    """Of a baseline, in a night's result."""

    accepted_at: str
    reason: str
    night: str | None
    harness_version: str


class BesideReference(Frozen):
    """A point of a night: how much worse its build was than the reference, the mean of the rounds."""

    point: str
    """Its name, without what differs between rounds."""
    metrics: dict[Metric, float]
    """Above 0 is worse. The logarithm of the ratio, but for the error rate: of that one the difference."""
    parts: dict[Part, float]
    """How much longer a request spends there, over the reference's whole time."""
    requests: int
    """The build's, of all rounds that count."""
    rounds: int


class Stored(Frozen):
    """Of a night that was measured beside a reference: what later nights are compared with."""

    reference: tuple[str, ...]
    """The SHA-256 of each of its models."""
    asked: str
    """A digest of what was asked for: nights that asked for something else aren't compared."""
    points: tuple[BesideReference, ...]
    passed_over: dict[str, int]
    """Why nights since the baseline was accepted don't count, and how many."""


class Night(Frozen):
    """`nightly.json`: what `harness nightly` found."""

    schema_version: Literal[1] = 1
    run_id: str
    path: str
    scenario: str
    started_at: str
    """UTC, ISO 8601."""
    finished_at: str | None
    """None of one that was cut off."""
    outcome: NightOutcome
    why: str
    """In a sentence."""
    baseline: BaselineFigures | None
    """None where there was none."""
    changed: dict[str, tuple[str, str]]
    """What of the environment isn't as it was when the baseline was accepted, by name. Both builds ran in
    today's, so that none of it is in the comparison."""
    disturbed: str | None
    """What else worked on the machine when the measurement began, or kept it from beginning; None where it
    was quiet."""
    waited_s: float
    """For a quiet machine, before anything was measured."""
    comparison: Comparison | None
    """None where nothing was compared."""
    stored: Stored | None = None
    """Where the build was measured beside a reference."""
