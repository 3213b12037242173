"""Queues whose right answer is known, over both protocols."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from harness.calibration.figures import THROUGHPUT, compared
from harness.calibration.lanes import Lane, in_lanes
from harness.calibration.queues import NOTHING, Added, Queue, simulated, theoretical
from harness.calibration.station import LANES, Drive, Service, Station, lanes
from harness.calibration.wire import wires
from harness.schema.calibration import TruthCase
from harness.schema.point import PointLoad
from harness.schema.scenario import Measure, Protocol

ATTEMPTS = 3
"""A point that harness's own gates call invalid says nothing of its accuracy, and is measured again."""
AGAIN_AT_ONCE = 4
"""Half of them: the less they ask for, the less of it a hypervisor or another process takes from them."""

QUEUES = (
    # At 30 to 40% utilization most requests find nobody: little correlation, so that half an hour supports a
    # p99.9 in 96 to 98 of 100 simulated runs. At 50% the median of a constant service would be
    # ill-conditioned: half of the requests take the same time, the others follow.
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
        PointLoad(rate_per_s=40.0, arrivals="poisson"),
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
        Service.bimodal(0.008, 0.03, 0.2),
        PointLoad(rate_per_s=25.0, arrivals="poisson"),
        stalling=True,
        theory=None,
    ),
)
"""Services of some 10 ms, of which a fraction of a millisecond by the machine is little."""


def against_truth(
    station: Station, duration_s: float, *, seed: int, say: Callable[[str], None]
) -> tuple[TruthCase, ...]:
    """Every queue over both protocols, all at once. `say` is told which are measured again, and why."""
    every = left = lanes(len(QUEUES))
    drives: dict[Lane, Drive] = {}
    attempts: Counter[Lane] = Counter()
    with wires(station) as plain:
        for attempt in range(1, ATTEMPTS + 1):
            measure = _measured(station, duration_s, seed + attempt)
            at_once = len(every) if attempt == 1 else AGAIN_AT_ONCE
            for first in range(0, len(left), at_once):
                some = left[first : first + at_once]
                drives |= zip(some, in_lanes(some, measure, station.stop), strict=True)
            attempts.update(left)
            left = tuple(lane for lane in left if drives[lane].result.verdict == "invalid")
            for lane in left if attempt < ATTEMPTS else ():
                why = "; ".join(drives[lane].result.reasons)
                say(f"{QUEUES[lane.number].name} over {lane.protocol} is measured again: {why}")
        return tuple(
            judged(
                QUEUES[lane.number],
                lane.protocol,
                drives[lane],
                plain[lane.protocol].during(drives[lane].window),
                attempts[lane],
            )
            for lane in every
        )


def _measured(station: Station, duration_s: float, seed: int) -> Callable[[Lane], Drive]:
    def measured(lane: Lane) -> Drive:
        queue = QUEUES[lane.number]
        return station.measure_service(
            queue.service,
            stalling=queue.stalling,
            lane=lane,
            load=queue.load,
            measure=Measure(warmup_s=min(2.0, duration_s / 4), duration_s=duration_s),
            # Not the same schedule over both: twice the evidence for the same time.
            seed=len(LANES) * seed + LANES.index(lane),
        )

    return measured


def judged(queue: Queue, protocol: Protocol, drive: Drive, added: Added, attempt: int) -> TruthCase:
    """One measurement of a queue beside its truths."""
    result = drive.result
    skipped = result.steady_state.skipped_requests if result.steady_state else 0

    def path(added: Added) -> dict[str, float]:
        if drive.measured.size <= skipped + 1:
            return {}
        return simulated(queue, drive.measured, skipped, added)

    return TruthCase(
        name=queue.name,
        protocol=protocol,
        description=queue.description,
        requests=result.requests,
        duration_s=result.duration_s,
        wire_s=float(np.median(added.seconds)),
        attempts=attempt,
        verdict=result.verdict,
        reasons=result.reasons,
        theory=compared(result, theoretical(queue, added), theoretical(queue, NOTHING)),
        path=compared(result, path(added), path(NOTHING)),
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
