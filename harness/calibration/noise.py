"""Points that perf_analyzer's stability rule gives up on, and what harness says of each.

Its rule (docs/measurements_metrics.md of perf_analyzer): three windows in a row within 10% of one another in
throughput and mean latency, and after `--max-trials` windows there is no answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from harness.calibration.figures import THROUGHPUT, measured
from harness.calibration.lanes import Lane
from harness.calibration.perf_analyzer import PerfAnalyzer
from harness.calibration.service import Service
from harness.calibration.station import PROTOCOLS, Station
from harness.schema.calibration import Noise, NoisyPoint
from harness.schema.load import PointLoad
from harness.schema.result import PointResult
from harness.schema.scenario import Measure, Protocol
from harness.schema.shapes.concurrency import Concurrency
from harness.triton.truth import SERVICE

WANTED = 20
WINDOW_MS, TRIALS = 600, 5
MOST_TRIED = 3
"""Times as many points as wanted: by chance perf_analyzer finds three windows alike."""

FIGURES = ("p50", "p99")
"""Percentiles of the latency that a point must give with an interval, or give the reason why not."""

_SERVICES = (
    Service.bimodal(0.002, 0.06, 0.1),
    Service.bimodal(0.004, 0.15, 0.04),
    Service.exponential(0.02, values=200),
)
_CONCURRENCIES = (1, 2, 4, 8)


MODELS = tuple((Lane(protocol), stalling) for protocol in PROTOCOLS for stalling in (True, False))
"""What the station must serve for it: a lane and whether its model stalls."""


def noise(
    station: Station,
    perf_analyzer: PerfAnalyzer,
    *,
    wanted: int,
    at_most_s: float,
    progress: Callable[[str], None],
) -> Noise:
    """`wanted` points that it calls unstable, each measured by harness for at most so long."""
    points: list[NoisyPoint] = []
    tried = 0
    for service, concurrency, stalling, protocol in _candidates():
        if len(points) == wanted or tried == MOST_TRIED * wanted:
            break
        tried += 1
        label = (
            f"{protocol}, concurrency {concurrency}, service {service.words}{', stalls' if stalling else ''}"
        )
        progress(f"{len(points)} of {wanted} found; {label}")
        said = _given_up(station, perf_analyzer, service, concurrency, stalling, protocol, tried)
        if said is None:
            continue
        result = station.measure_service(
            service,
            stalling=stalling,
            lane=Lane(protocol),
            load=PointLoad(shape=Concurrency(concurrency=concurrency)),
            measure=Measure(warmup_s=1.0, duration_s=min(5.0, at_most_s), at_most_s=at_most_s),
            seed=tried,
        ).result
        points.append(answer(result, protocol, label, concurrency, said))
    return Noise(wanted=wanted, tried=tried, points=tuple(points))


def failures(found: Noise) -> Iterator[str]:
    """What is wrong, one sentence each."""
    if len(found.points) < found.wanted:
        yield (
            f"perf_analyzer called only {len(found.points)} of {found.tried} noisy points unstable, "
            f"and {found.wanted} were wanted"
        )
    for point in found.points:
        if point.lost:
            yield f"lost: {point.model}: neither an interval nor a reason"


def _candidates() -> Iterator[tuple[Service, int, bool, Protocol]]:
    return itertools.cycle(itertools.product(_SERVICES, _CONCURRENCIES, (True, False), PROTOCOLS))


def _given_up(
    station: Station,
    perf_analyzer: PerfAnalyzer,
    service: Service,
    concurrency: int,
    stalling: bool,
    protocol: Protocol,
    seed: int,
) -> str | None:
    """perf_analyzer's words where it found no stable measurement, or never came back; else None."""
    rng = np.random.default_rng(seed)
    weights = np.asarray(service.weights) / sum(service.weights)
    finished = perf_analyzer.run(
        station.truth_model(Lane(protocol), stalling=stalling),
        protocol,
        f"{station.server.host}:{station.port(protocol)}",
        concurrency=concurrency,
        data=[{SERVICE: [float(each)]} for each in rng.choice(service.seconds, size=500, p=weights)],
        options=["--measurement-interval", str(WINDOW_MS), "--max-trials", str(TRIALS)],
        limit_s=30 + 4 * WINDOW_MS * TRIALS / 1e3,
    )
    return finished.unstable


def answer(result: PointResult, protocol: Protocol, label: str, concurrency: int, said: str) -> NoisyPoint:
    """What harness says of a point; lost where a figure has neither an interval nor a reason."""
    throughput, throughput_interval = measured(result, THROUGHPUT)
    p50_s, p50_interval = measured(result, "p50")
    p99_s, p99_interval = measured(result, "p99")
    unsupported = result.latency_s.unsupported
    reasons = [
        *result.reasons,
        *(f"no {name}: {unsupported[name]}" for name in FIGURES if name in unsupported),
    ]
    unexplained = [
        throughput_interval is None and not result.reasons,
        p50_interval is None and "p50" not in unsupported,
        p99_interval is None and "p99" not in unsupported,
    ]
    return NoisyPoint(
        protocol=protocol,
        model=label,
        concurrency=concurrency,
        perf_analyzer=said,
        verdict=result.verdict,
        throughput_per_s=throughput,
        throughput_interval_95=throughput_interval,
        p50_s=p50_s,
        p50_interval_95=p50_interval,
        p99_s=p99_s,
        p99_interval_95=p99_interval,
        reasons=tuple(reasons),
        lost=any(unexplained),
    )
