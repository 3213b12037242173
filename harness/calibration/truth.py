"""Queues whose right answer is known, over both protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count

import numpy as np

from harness.calibration.figures import THROUGHPUT, compared
from harness.calibration.lanes import Lane, in_lanes
from harness.calibration.queues import NOTHING, Added, Queue, simulated, theoretical
from harness.calibration.service import Service
from harness.calibration.station import LANES, Drive, Station, lanes
from harness.calibration.wire import WIRES, wires
from harness.schema.calibration import FigureCheck, TruthCase
from harness.schema.load import PointLoad
from harness.schema.scenario import Measure, Protocol
from harness.schema.shapes.rate import Rate

ATTEMPTS = 3
"""A point that harness's own gates call invalid says nothing of its accuracy, and is measured again."""
AT_ONCE = 4
"""The more points there are, the more of its cores a shared machine loses to others meanwhile."""

QUEUES = (
    # At 30 to 40% utilization most requests find nobody: little correlation, so that half an hour supports a
    # p99.9 in 96 to 98 of 100 simulated runs. At 50% the median of a constant service would be
    # ill-conditioned: half of the requests take the same time, the others follow.
    Queue(
        "constant service",
        Service.constant(0.012),
        PointLoad(shape=Rate(rate_per_s=25.0), arrivals="poisson"),
        stalling=False,
        theory="M/D/1",
    ),
    Queue(
        "exponential service",
        Service.exponential(0.01),
        PointLoad(shape=Rate(rate_per_s=40.0), arrivals="poisson"),
        stalling=False,
        theory="M/M/1",
    ),
    Queue(
        "constant service, stalls",
        Service.constant(0.01),
        PointLoad(shape=Rate(rate_per_s=60.0), arrivals="constant"),
        stalling=True,
        theory=None,
    ),
    Queue(
        "bimodal service, stalls",
        Service.bimodal(0.008, 0.03, 0.2),
        PointLoad(shape=Rate(rate_per_s=25.0), arrivals="poisson"),
        stalling=True,
        theory=None,
    ),
)
"""Services of some 10 ms, of which a fraction of a millisecond by the machine is little."""


def models() -> Iterator[tuple[Lane, bool]]:
    """What the station must serve for it: a lane and whether its model stalls."""
    for lane in lanes(len(QUEUES)):
        yield lane, QUEUES[lane.number].stalling
    yield from WIRES


def against_truth(
    station: Station, duration_s: float, *, seed: int, say: Callable[[str], None]
) -> tuple[TruthCase, ...]:
    """Every queue over both protocols. `say` gets which are measured again, and why.

    What a gate refuses is measured up to `ATTEMPTS` times. What misses the theory, and not its path, is
    measured once more, with another schedule, and fails if it misses then: a 95% interval misses the steady
    state in one of twenty samples, so among this many figures it may be chance.
    """
    every = left = lanes(len(QUEUES))
    cases: dict[Lane, TruthCase] = {}
    missed: dict[Lane, tuple[FigureCheck, ...]] = {}
    with wires(station) as plain:
        for attempt in count(1):
            again: dict[Lane, tuple[str, ...]] = {}
            for lane, drive in _drives(station, left, duration_s, seed + attempt):
                refusals_before = attempt - 1 - (lane in missed)
                if drive.result.verdict == "invalid" and refusals_before < ATTEMPTS - 1:
                    again[lane] = drive.result.reasons
                    continue
                added = plain[lane.protocol].during(drive.window)
                before = missed.get(lane, ())
                cases[lane] = judged(QUEUES[lane.number], lane.protocol, drive, added, attempt, before)
                if lane not in missed and (by_chance := missed_by_chance(cases[lane])):
                    missed[lane] = by_chance
                    again[lane] = tuple(_off("theory", by_chance))
            for lane, why in again.items():
                say(f"{QUEUES[lane.number].name} over {lane.protocol} is measured again: {'; '.join(why)}")
            left = tuple(again)
            if not left:
                break
    return tuple(cases[lane] for lane in every)


def missed_by_chance(case: TruthCase) -> tuple[FigureCheck, ...]:
    """The figures off the theory's, if it may be chance: the very requests' path gives what was measured."""
    if case.verdict == "invalid" or any(figure.passed is False for figure in case.path):
        return ()
    return tuple(figure for figure in case.theory if figure.passed is False)


def _drives(
    station: Station, left: Sequence[Lane], duration_s: float, seed: int
) -> Iterator[tuple[Lane, Drive]]:
    measure = _measured(station, duration_s, seed)
    for first in range(0, len(left), AT_ONCE):
        some = left[first : first + AT_ONCE]
        yield from zip(some, in_lanes(some, measure, station.stop), strict=True)


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


def judged(
    queue: Queue,
    protocol: Protocol,
    drive: Drive,
    added: Added,
    attempt: int,
    missed: tuple[FigureCheck, ...] = (),
) -> TruthCase:
    """One measurement of a queue beside its truths, and what an earlier one `missed`."""
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
        missed=missed,
    )


def failures(cases: Sequence[TruthCase]) -> Iterator[str]:
    """What is wrong, one sentence each: a figure off, or a case without one that must be there."""
    for case in cases:
        where = f"{case.name} over {case.protocol}"
        if case.verdict == "invalid":
            yield f"{where}: not measured validly in {case.attempts} attempts: {'; '.join(case.reasons)}"
            continue
        for kind, figures in (("theory", case.theory), ("path", case.path)):
            for off in _off(kind, figures):
                yield f"{where}: {off}"
            for figure in figures:
                if figure.passed is None and figure.name in ("p50", THROUGHPUT):
                    yield f"{where}: no {figure.name}: {figure.why}"


def _off(kind: str, figures: Sequence[FigureCheck]) -> Iterator[str]:
    for figure in figures:
        if figure.passed is False and figure.error is not None:
            yield f"{figure.name} is {figure.error:+.1%} off the {kind}'s"
