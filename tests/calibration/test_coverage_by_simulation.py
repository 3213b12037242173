"""The calibration's coverage as a faultless harness and server would give it: its schedules, simulated."""

from __future__ import annotations

import threading
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from harness.analysis import steady
from harness.analysis.latency import rate, summarize
from harness.analysis.queueing import finishes
from harness.calibration import coverage
from harness.calibration.service import Service
from harness.calibration.station import Drive, Station
from harness.commands.calibrate import FULL, SEED
from harness.load.arrivals import draws, schedule
from harness.schema.calibration import Coverage
from harness.schema.expansion import expand
from harness.schema.load import PointLoad
from harness.schema.result import Interval, Latency, SteadyState
from harness.schema.samples import REQUEST, Measured, Phase, Status, Window
from harness.schema.scenario import Measure
from tests.report.factory import DEMO, point_result

WIRE_S = 0.0003


@cache  # each test has the same schedules
def served(
    service: Service, load: PointLoad, duration_s: float, seed: int
) -> tuple[Latency, SteadyState, float, Interval, Measured]:
    """What is found of one schedule, by Lindley's recursion."""
    due_s = schedule(load, duration_s, seed, Path())
    # As harness.load.process.locustfile draws them.
    classes = draws(service.weights, [1] * len(service.weights), seed * len(Phase) + Phase.MEASURE)
    kinds = np.array([kind for kind, _ in islice(classes, due_s.size)])
    done_s = finishes(due_s, np.asarray(service.seconds)[kinds]) + WIRE_S
    records = np.zeros(due_s.size, REQUEST)
    records["request_class"], records["status"], records["phase"] = kinds, Status.OK, Phase.MEASURE
    records["intended_ns"] = records["sent_ns"] = due_s * 1e9
    records["completed_ns"] = done_s * 1e9
    begun = steady.find(done_s - due_s, due_s - due_s[0])
    per_second, interval = rate(done_s - due_s[0], float(due_s[-1] - due_s[0]))
    latency = summarize((done_s - due_s)[begun.skipped_requests :])
    assert interval is not None
    return latency, begun, per_second, interval, Measured.of(records)


class Simulated:
    """A station that serves each schedule by Lindley's recursion, and takes `WIRE_S` for each request."""

    TEMPLATE = point_result(expand(DEMO)[0], verdict="valid", gpu=False)

    def __init__(self, width: float) -> None:
        self.stop = threading.Event()
        self._width = width
        """Of each interval, as a share of what it should be."""

    def measure_service(
        self, service: Service, *, load: PointLoad, measure: Measure, seed: int, **_: Any
    ) -> Drive:
        latency, begun, per_second, interval, measured = served(service, load, measure.duration_s, seed)
        intervals = {
            name: self._narrowed(getattr(latency, name), each) for name, each in latency.interval_95.items()
        }
        figures: dict[str, Any] = {
            "steady_state": begun,
            "latency_s": latency.model_copy(update={"interval_95": intervals}),
            "throughput_requests_per_s": per_second,
            "throughput_interval_95": self._narrowed(per_second, interval),
        }
        result = self.TEMPLATE.model_copy(update=figures)
        return Drive(result, measured, None, Window(0, 1))

    def _narrowed(self, value: float, interval: Interval) -> Interval:
        low, high = interval
        return (value - (value - low) * self._width, value + (high - value) * self._width)


def found(*, runs_counted: int = coverage.MOST_COUNTED, width: float = 1.0) -> Coverage:
    """The coverage of `harness calibrate`; of a figure's runs, `runs_counted` hundreds at most."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coverage, "MOST_COUNTED", runs_counted)
        station = cast(Station, Simulated(width))
        return coverage.coverage(station, FULL.runs, FULL.run_s, seed=SEED, progress=lambda *_: None)


def counts(of: Coverage, figure: str) -> list[tuple[int, int]]:
    """Over HTTP and gRPC: how many hold the truth, of how many runs."""
    return [(check.covered, check.runs) for check in of.checks if check.figure == figure]


def test_the_first_hundred_schedules_over_http_are_unlucky_ones() -> None:
    """What docs/measurement.md says of them. It may change with the intervals, and then must be said anew."""
    first = found(runs_counted=1)
    assert counts(first, "p50") == [(91, 100), (98, 100)]
    assert coverage.failures(first) == ["coverage of p50 over http: 91 of 100 intervals hold the truth"]


def test_intervals_that_are_right_pass_on_more_schedules() -> None:
    every = found()
    assert coverage.failures(every) == []
    assert counts(every, "p50") == [(188, 200), (98, 100)]


def test_intervals_that_are_a_fifth_too_narrow_fail_on_all_of_them() -> None:
    narrow = found(width=0.8)
    assert len(coverage.failures(narrow)) >= 4
    assert (counts(narrow, "p50")[0][1], coverage.MOST_COUNTED * FULL.runs) == (300, 300)


@pytest.mark.parametrize(("true_share", "fails"), [(0.95, 0.02), (0.92, 0.44), (0.90, 0.76)])
def test_how_often_a_figure_fails_by_the_rule(true_share: float, fails: float) -> None:
    """What `MOST_COUNTED` says, of independent runs."""
    runs = FULL.runs * np.arange(1, coverage.MOST_COUNTED + 1)
    hundreds = np.random.default_rng(1).binomial(FULL.runs, true_share, (100_000, coverage.MOST_COUNTED))
    passed = (hundreds.cumsum(axis=1) >= np.ceil(coverage.SHARE * runs)).any(axis=1)
    assert 1 - passed.mean() == pytest.approx(fails, abs=0.006)
