"""Queues whose right answer is known, over both protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from harness.calibration.figures import THROUGHPUT, compared
from harness.calibration.lanes import Lane, in_lanes
from harness.calibration.queues import Queue, simulated, theoretical
from harness.calibration.station import LANES, PROTOCOLS, Drive, Service, Station, truth_model
from harness.calibration.wire import wire_s
from harness.schema.calibration import TruthCase
from harness.schema.point import PointLoad
from harness.schema.scenario import Measure, Protocol

ATTEMPTS = 3
"""A point that harness's own gates call invalid says nothing of its accuracy, and is measured again."""

WIRE_REQUESTS = 100

QUEUES = (
    # At 30% utilization most requests find nobody: little correlation, so that even a p99.9 may be supported.
    # At 50% the median would be ill-conditioned: half of the requests take the same time, the others follow.
    Queue(
        "constant service",
        Service.constant(0.012),
        PointLoad(rate_per_s=25.0, arrivals="poisson"),
        stalling=False,
        theory="M/D/1",
    ),
    Queue(
        "exponential service",
        Service.exponential(0.01),
        PointLoad(rate_per_s=60.0, arrivals="poisson"),
        stalling=False,
        theory="M/M/1",
    ),
    Queue(
        "constant service, stalls",
        Service.constant(0.01),
        PointLoad(rate_per_s=60.0, arrivals="constant"),
        stalling=True,
        theory=None,
    ),
    Queue(
        "bimodal service, stalls",
        Service.bimodal(0.005, 0.03, 0.2),
        PointLoad(rate_per_s=50.0, arrivals="poisson"),
        stalling=True,
        theory=None,
    ),
)
"""Services of some 10 ms, of which a fraction of a millisecond by the machine is little."""

AT_ONCE = len(LANES) // len(PROTOCOLS)
"""Queues that are measured at the same time, each over both protocols."""


def against_truth(
    station: Station, duration_s: float, *, seed: int, doing: Callable[[str], AbstractContextManager[None]]
) -> Iterator[Sequence[TruthCase]]:
    """`AT_ONCE` queues after the other, over both protocols."""
    for first in range(0, len(QUEUES), AT_ONCE):
        queues = QUEUES[first : first + AT_ONCE]

        def case(lane: Lane, queues: Sequence[Queue] = queues) -> TruthCase:
            return _case(station, queues[lane.number], lane, duration_s, seed)

        lanes = [lane for lane in LANES if lane.number < len(queues)]
        with doing(f"truth: {' and '.join(queue.name for queue in queues)}"):
            cases = in_lanes(lanes, case, station.stop)
        yield cases


def _case(station: Station, queue: Queue, lane: Lane, duration_s: float, seed: int) -> TruthCase:
    on_top_s = measured_wire_s(station, queue, lane)
    for attempt in range(1, ATTEMPTS + 1):
        drive = station.measure_service(
            queue.service,
            stalling=queue.stalling,
            lane=lane,
            load=queue.load,
            measure=Measure(warmup_s=min(2.0, duration_s / 4), duration_s=duration_s),
            # Not the same schedule over both: twice the evidence for the same time.
            seed=len(LANES) * (seed + attempt) + LANES.index(lane),
        )
        if drive.result.verdict != "invalid":
            break
    return judged(queue, lane.protocol, drive, on_top_s, attempt)


def measured_wire_s(station: Station, queue: Queue, lane: Lane) -> float:
    """What the wire takes at this queue's pace, on the lane's model."""
    return wire_s(
        lane.protocol,
        station.server.host,
        station.port(lane.protocol),
        truth_model(lane, stalling=False),
        service_s=queue.service.mean_s,
        pause_s=queue.pause_s,
        requests=WIRE_REQUESTS,
    )


def judged(queue: Queue, protocol: Protocol, drive: Drive, on_top_s: float, attempt: int) -> TruthCase:
    """One measurement of a queue beside its truths."""
    result = drive.result
    skipped = result.steady_state.skipped_requests if result.steady_state else 0
    path = simulated(queue, drive.measured, skipped, on_top_s) if drive.measured.size > skipped + 1 else {}
    return TruthCase(
        name=queue.name,
        protocol=protocol,
        description=queue.description,
        requests=result.requests,
        duration_s=result.duration_s,
        wire_s=on_top_s,
        attempts=attempt,
        verdict=result.verdict,
        reasons=result.reasons,
        theory=compared(result, theoretical(queue, on_top_s)),
        path=compared(result, path),
    )


def failures(cases: Sequence[TruthCase]) -> Iterator[str]:
    """What is wrong, one sentence each: a figure off, or a case without one that must be there."""
    for case in cases:
        where = f"{case.name} over {case.protocol}"
        if case.verdict == "invalid":
            yield f"{where}: not measured validly in {case.attempts} attempts: {'; '.join(case.reasons)}"
            continue
        for kind, figures in (("theory", case.theory), ("path", case.path)):
            for figure in figures:
                if figure.passed is False and figure.error is not None:
                    yield f"{where}: {figure.name} is {figure.error:+.1%} off the {kind}'s"
                if figure.passed is None and figure.name in ("p50", THROUGHPUT):
                    yield f"{where}: no {figure.name}: {figure.why}"
