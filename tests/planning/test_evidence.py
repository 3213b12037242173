"""The table of predicted and measured: what it says of points whose errors are known."""

from __future__ import annotations

import pytest

from tests.evidence.planning import POINTS, Row, knees, table


def row(label: str, over: float) -> Row:
    """Measured with a p99 of 40 ms, and predicted so many times that."""
    measured = {"mean": [0.010, 0.010], "p90": [0.020, 0.020], "p99": [0.038, 0.042]}
    predicted = {"mean": 0.010, "p90": 0.021, "p99": 0.040 * over}
    return Row(label, 50.0, predicted, 0.038, 0.043, measured)


def test_errors_spread_and_what_the_intervals_hold_are_told() -> None:
    made = table([row("a", 1.1), row("b", 0.95), row("c", 1.0)], [0.010, 0.011])
    assert "| a | 50 | mean | 10.0 | ±0% | 10.0 | +0.0% |" in made
    assert "|  |  | p99 | 40.0 | ±7% | 44.0 | +10.0% |" in made
    assert "off by 5.0% (median) and 10.0% at most" in made
    assert "hold the measured p99 at 3 of 3 held-out points" in made
    assert "2 turns; the reference" in made


def test_the_knee_is_where_the_p99_reaches_its_limit_in_each_turn() -> None:
    def at(rate: float, predicted_s: float, *measured_s: float) -> Row:
        measured = {"mean": [0.01, 0.01], "p90": [0.02, 0.02], "p99": measured_s}
        predicted = {"mean": 0.01, "p90": 0.02, "p99": predicted_s}
        return Row(f"{rate:g}/s, two", rate, predicted, 0.0, 1.0, measured, knee="two")

    rows = [at(400, 1.6, 0.8, 0.4), at(100, 0.1, 0.1, 0.05), at(200, 0.4, 0.2, 0.2)]
    (knee,) = knees(rows)
    assert knee.measured_per_s == pytest.approx([200, 200])
    assert knee.predicted_per_s == pytest.approx(100 * 2**0.5)
    made = table([row("a", 1.0), *rows], [0.010, 0.011])
    assert "| two | 200 | ±0% | 141 | -29.3% |" in made
    assert "at 1 of 1 held-out points" in made, "its rates are for the knee alone"
    made = table([row("a", 1.0), at(100, 0.3, 0.1, 0.3), at(400, 1.6, 0.4, 0.4)], [0.010, 0.011])
    assert "| two | 200, beyond the rates in 1 of 2 turns | ±0% | beyond the rates | — |" in made


def test_what_is_held_out_was_not_fed() -> None:
    fed = {(str(each.server), each.share, each.weights) for each in POINTS if each.fed}
    held = [(str(each.server), each.share, each.weights) for each in POINTS if not each.fed]
    assert len(held) >= 10 and not fed & set(held)
    assert len({each.label for each in POINTS}) == len(POINTS)
