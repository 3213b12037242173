"""Whether the intervals hold the truth as often as they say, over repeated short runs of one queue."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from harness.calibration.figures import THROUGHPUT, measured
from harness.calibration.lanes import Lane, in_lanes
from harness.calibration.queues import Queue, theoretical
from harness.calibration.station import LANES, PROTOCOLS, Service, Station
from harness.calibration.truth import measured_wire_s
from harness.schema.calibration import Coverage, CoverageCheck
from harness.schema.point import PointLoad
from harness.schema.result import PointResult
from harness.schema.scenario import Measure, Protocol

SHARE = 0.93
"""Of the repeated runs, at least: 95% is what is claimed, and a hundred runs tell it to some 2%."""

QUEUE = Queue(
    "exponential service",
    Service.exponential(0.01),
    PointLoad(rate_per_s=40.0, arrivals="poisson"),
    stalling=False,
    theory="M/M/1",
)
"""Its latencies have no two alike, so an interval isn't judged by how well the wire's time is known."""

FIGURES = ("p50", "p99", "mean", THROUGHPUT)
REQUIRED = ("p50", "mean", THROUGHPUT)
FEWEST = 20
"""With fewer intervals than this a share says nothing."""


def coverage(
    station: Station, runs: int, duration_s: float, *, seed: int, progress: Callable[[int], None]
) -> Coverage:
    """`runs` runs over each protocol, each with a seed and a load process of its own."""
    one_each = [lane for lane in LANES if lane.number == 0]
    found_s = in_lanes(one_each, lambda lane: measured_wire_s(station, QUEUE, lane), station.stop)
    wires = {lane.protocol: on_top_s for lane, on_top_s in zip(one_each, found_s, strict=True)}
    results: dict[Protocol, list[PointResult]] = {protocol: [] for protocol in PROTOCOLS}
    refusals: Counter[str] = Counter()
    refused = dict.fromkeys(PROTOCOLS, 0)
    for number in range(runs):  # twice as many as there must be, for those that are refused
        if all(len(each) >= runs for each in results.values()):
            break
        found = in_lanes(LANES, _run(station, duration_s, seed + number), station.stop)
        for lane, result in zip(LANES, found, strict=True):
            if result.verdict == "invalid":
                refused[lane.protocol] += 1
                refusals.update(result.reasons)
            elif len(results[lane.protocol]) < runs:
                results[lane.protocol].append(result)
        progress(min(len(each) for each in results.values()))
    return Coverage(
        description=f"{QUEUE.description}; {duration_s:g} s each",
        refused=refused,
        refusals=tuple(reason for reason, _ in refusals.most_common(5)),
        checks=tuple(
            counted(protocol, name, truths(wires[protocol])[name], results[protocol], runs)
            for protocol in PROTOCOLS
            for name in FIGURES
        ),
    )


def truths(on_top_s: float) -> dict[str, float]:
    rate = QUEUE.load.rate_per_s or 0.0
    mean_s = 1 / (1 / QUEUE.service.mean_s - rate)  # of M/M/1
    return {**theoretical(QUEUE, on_top_s), "mean": mean_s + on_top_s}


def counted(
    protocol: Protocol, name: str, truth: float, results: list[PointResult], wanted: int
) -> CoverageCheck:
    """How many of the results' intervals hold `truth`."""
    intervals = [found for each in results if (found := measured(each, name)[1]) is not None]
    covered = sum(low <= truth <= high for low, high in intervals)
    needed = math.ceil(SHARE * len(intervals))
    enough = len(results) == wanted and len(intervals) >= (
        wanted if name in REQUIRED else min(FEWEST, wanted)
    )
    why = None
    if len(results) < wanted:
        why = f"only {len(results)} of {wanted} runs passed harness's own gates"
    elif not enough:
        why = f"only {len(intervals)} of {len(results)} runs were long enough for it"
    return CoverageCheck(
        protocol=protocol,
        figure=name,
        truth=truth,
        runs=len(results),
        supported=len(intervals),
        covered=covered,
        needed=needed,
        passed=covered >= needed if enough else None,
        why=why,
    )


def failures(found: Coverage) -> list[str]:
    """What is wrong, one sentence each."""
    said = []
    for check in found.checks:
        where = f"coverage of {check.figure} over {check.protocol}"
        if check.passed is False:
            said.append(f"{where}: {check.covered} of {check.supported} intervals hold the truth")
        elif check.passed is None and check.figure in REQUIRED:
            said.append(f"{where}: {check.why}")
    return said


def _run(station: Station, duration_s: float, seed: int) -> Callable[[Lane], PointResult]:
    def run(lane: Lane) -> PointResult:
        return station.measure_service(
            QUEUE.service,
            stalling=False,
            lane=lane,
            load=QUEUE.load,
            measure=Measure(warmup_s=0.5, duration_s=duration_s),
            seed=len(LANES) * seed + LANES.index(lane),
        ).result

    return run
