"""A night with a comparison, made without a server."""

from __future__ import annotations

from harness.schema.night_result import Night
from tests.report.test_comparison_page import comparison

NIGHT = Night(
    run_id="20261130T000000Z-x-nightly",
    path="/somewhere",
    scenario="x",
    started_at="2026-11-30T00:00:00+00:00",
    finished_at="2026-11-30T00:09:00+00:00",
    outcome="regressed",
    why="after 8.5 min: 8 users: p50",
    baseline=None,
    changed={},
    disturbed=None,
    waited_s=0.0,
    comparison=comparison(),
)
