"""What a night or a comparison has come to, for a webhook."""

from __future__ import annotations

from harness.clock import now
from harness.commands.progress import Progress
from harness.publish.webhook import Webhook
from harness.report.comparison_words import why_outcome
from harness.schema.ab_result import Comparison
from harness.schema.announcement import AnnouncedPoint, Announcement
from harness.schema.night_result import Night


def announce(webhook: Webhook | None, announcement: Announcement, progress: Progress) -> None:
    """Tell the receiver, where there is one. That it can't be told is said, and changes nothing else."""
    if webhook is not None and (why_not := webhook.tell(announcement)) is not None:
        progress.say(why_not)


def of_comparison(found: Comparison) -> Announcement:
    return Announcement(
        type="harness.ab",
        timestamp=found.finished_at or now(),
        run_id=found.run_id,
        scenario=found.arms[1].scenario,
        outcome=found.outcome,
        why=why_outcome(found),
        points=_points(found),
    )


def of_night(night: Night) -> Announcement:
    return Announcement(
        type="harness.nightly",
        timestamp=night.finished_at or now(),
        run_id=night.run_id,
        scenario=night.scenario,
        outcome=night.outcome,
        why=night.why,
        points=() if night.comparison is None else _points(night.comparison),
    )


def _points(found: Comparison) -> tuple[AnnouncedPoint, ...]:
    return tuple(
        AnnouncedPoint(
            point=point.point,
            outcome=point.outcome,
            metrics={each.metric: each.outcome for each in point.metrics},
        )
        for point in found.points
    )
