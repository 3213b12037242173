"""Failures are kept by their texts, and a server may give each a text of its own."""

from __future__ import annotations

from typing import Any

import pytest

from harness.load.process.reasons import MOST_REASONS, Reasons


def test_texts_of_one_error_are_one_and_there_are_no_more_than_so_many() -> None:
    reasons = Reasons()
    assert reasons.kept("at 0x7f00 in 123456") == reasons.kept("at 0x7f11 in 654321") == "at … in …"
    kept = {reasons.kept(f"x{number % 10_000}") for number in range(3 * MOST_REASONS)}
    assert len(kept) == MOST_REASONS and f"another error, after {MOST_REASONS} different ones" in kept
    assert reasons.kept("x1") == "x1", "the first ones are still told apart"


def test_locust_keeps_no_more_failures_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    from locust.env import Environment

    from harness.load.user import Report
    from harness.load.wire import Reply
    from harness.schema.samples import Status

    environment: Any = Environment()
    runner = environment.create_local_runner()
    reports = [Report(environment, "http") for _ in range(3)]
    for number in range(3 * MOST_REASONS):
        reply = Reply(Status.REFUSED, f"HTTP 400: no {number}", 0, 1, 2, 3, 4)
        reports[number % 3]("short", 0, reply)
    assert runner.stats.total.num_failures == 3 * MOST_REASONS
    assert len(runner.stats.errors) <= MOST_REASONS + 1
