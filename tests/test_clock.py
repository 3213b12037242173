"""The time that results have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from harness import clock


def test_a_clock_that_is_set_back_meanwhile_changes_no_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    began = clock.now()
    assert abs(datetime.fromisoformat(began) - datetime.now(UTC)) < timedelta(hours=1)

    class SetBack(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003
            return datetime(2001, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(clock, "datetime", SetBack)
    assert began <= clock.now()
