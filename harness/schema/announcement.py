"""What a webhook is told when a night or a comparison has come to its end."""

from __future__ import annotations

from typing import Literal

from harness.schema.ab_result import Outcome
from harness.schema.frozen import Frozen
from harness.schema.night_result import NightOutcome
from harness.schema.regression_section import Metric


class AnnouncedPoint(Frozen):
    point: str
    outcome: Outcome
    metrics: dict[Metric, Outcome]


class Announcement(Frozen):
    """The body of a webhook, small: everything else stands in the folder that `run_id` names."""

    schema_version: Literal[1] = 1
    type: Literal["harness.nightly", "harness.ab"]
    timestamp: str
    """When it ended: UTC, ISO 8601."""
    run_id: str
    scenario: str
    outcome: NightOutcome
    why: str
    """In a sentence."""
    points: tuple[AnnouncedPoint, ...]
    """Empty where nothing was compared."""
