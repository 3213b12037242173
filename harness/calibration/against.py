"""harness beside perf_analyzer on the same server, in turns, so that a busy machine is busy for both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.calibration.counted import Counter
from harness.calibration.figures import quantile
from harness.calibration.perf_analyzer import Finished, PerfAnalyzer
from harness.calibration.station import NULL_WIDTH, PROTOCOLS, Station
from harness.schema.calibration import Client, Comparison
from harness.schema.load import PointLoad
from harness.schema.scenario import Measure, Protocol, Validity
from harness.schema.shapes.concurrency import Concurrency
from harness.triton.truth import NULL, NULL_INPUT

CONCURRENCIES = (1, 8, 32)
ATTEMPTS = 3
"""Attempts of perf_analyzer in one round: over HTTP at concurrency 32 it sometimes never returns."""

LIMITS: dict[Protocol, dict[int, float]] = {
    "http": {1: 0.8, 8: 0.5, 32: 0.5},
    "grpc": {1: 1.2, 8: 0.8, 32: 0.8},
}
"""harness's client CPU per request, at most, as a share of perf_analyzer's."""

MOST_STOLEN = Validity().stolen_cpu
"""Share of the cores that a hypervisor may give to others in a round: more is a gate's to refuse, and may all
have been taken from one of the two."""
QUIET_ATTEMPTS = 5

_DATA = [{NULL_INPUT: [0.0] * NULL_WIDTH}]


@dataclass(frozen=True, slots=True)
class _Round:
    ours: Client
    theirs: Client


def against(
    station: Station,
    perf_analyzer: PerfAnalyzer,
    *,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> Iterator[Comparison]:
    """Each protocol at each concurrency, `rounds` times some `seconds` of each client."""
    for protocol in PROTOCOLS:
        for concurrency in CONCURRENCIES:
            yield compared(
                station,
                perf_analyzer,
                protocol,
                concurrency,
                rounds=rounds,
                seconds=seconds,
                progress=progress,
            )


def compared(
    station: Station,
    perf_analyzer: PerfAnalyzer,
    protocol: Protocol,
    concurrency: int,
    *,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> Comparison:
    """One protocol at one concurrency."""
    done: list[_Round] = []
    troubles: list[str] = []
    for number in range(1, rounds + 1):
        progress(f"{protocol}, concurrency {concurrency}, round {number} of {rounds}")
        found = _round(station, perf_analyzer, protocol, concurrency, seconds)
        if isinstance(found, _Round):
            done.append(found)
        else:
            troubles.append(found)
    return _comparison(protocol, concurrency, rounds, done, troubles)


def printed(found: Sequence[Comparison]) -> dict[str, dict[str, dict[str, object]]]:
    """`{"http": {"1": {"cpu_ratio": …}, "8": …}, "grpc": …}`: what `--against --json` prints."""
    document: dict[str, dict[str, dict[str, object]]] = {}
    for each in found:
        of_protocol = document.setdefault(each.protocol, {})
        of_protocol[str(each.concurrency)] = each.model_dump(exclude={"protocol", "concurrency"})
    return document


def failures(found: Sequence[Comparison]) -> Iterator[str]:
    """What is wrong, one sentence each."""
    for each in found:
        where = f"{each.protocol} at concurrency {each.concurrency}"
        limit = LIMITS[each.protocol][each.concurrency]
        if each.cpu_ratio is None or each.throughput_ratio is None:
            yield f"{where}: not compared: {each.why}"
            continue
        if each.cpu_ratio > limit:
            yield f"{where}: client CPU {each.cpu_ratio:.2f} of perf_analyzer's, over {limit:g}"
        if each.throughput_ratio < 1:
            yield f"{where}: throughput {each.throughput_ratio:.2f} of perf_analyzer's"


def _round(
    station: Station, perf_analyzer: PerfAnalyzer, protocol: Protocol, concurrency: int, seconds: float
) -> _Round | str:
    """One turn of each on a machine of their own, or why there is none."""
    for _ in range(QUIET_ATTEMPTS):
        began_ns = time.monotonic_ns()
        found = _turns(station, perf_analyzer, protocol, concurrency, seconds)
        stolen = station.stolen_share(began_ns)
        if isinstance(found, str) or stolen <= MOST_STOLEN:
            return found
    return (
        f"in each of {QUIET_ATTEMPTS} attempts the hypervisor gave more than {MOST_STOLEN:.0%} of this "
        f"machine's cores to others, {stolen:.1%} in the last: measure on a machine that isn't shared"
    )


def _turns(
    station: Station, perf_analyzer: PerfAnalyzer, protocol: Protocol, concurrency: int, seconds: float
) -> _Round | str:
    """One turn of each, or why there is none."""
    drive = station.measure_null(
        protocol=protocol,
        load=PointLoad(shape=Concurrency(concurrency=concurrency)),
        measure=Measure(warmup_s=0.5, duration_s=seconds),
    )
    result, measured = drive.result, drive.measured
    rate = result.throughput_requests_per_s
    if drive.cpu_s is None or rate is None or result.errors:
        return "harness: " + ("; ".join(result.reasons) or f"{result.errors} errors")
    # Of all samples, as perf_analyzer's: whether they support a percentile isn't the question here.
    took_us = (measured.completed_ns - measured.sent_ns) / 1e3
    ours = Client(
        cpu_us_per_request=drive.cpu_s / measured.size * 1e6,
        throughput_per_s=rate,
        p50_us=quantile(took_us, 0.50),
        p99_us=quantile(took_us, 0.99),
    )
    # A count rather than a time window, after which it can go on for minutes over HTTP (seen).
    requests = max(concurrency, int(rate * seconds))
    why = ""
    for _ in range(ATTEMPTS):
        theirs = _theirs(station, perf_analyzer, protocol, concurrency, requests, seconds)
        if isinstance(theirs, Client):
            return _Round(ours, theirs)
        why = theirs
    return why


def _theirs(
    station: Station,
    perf_analyzer: PerfAnalyzer,
    protocol: Protocol,
    concurrency: int,
    requests: int,
    seconds: float,
) -> Client | str:
    """Its CPU is without its start's, which a run of next to no requests shows."""

    def run(count: int, meanwhile: Callable[[], None]) -> Finished:
        return perf_analyzer.run(
            NULL,
            protocol,
            f"{station.server.host}:{station.port(protocol)}",
            concurrency=concurrency,
            data=_DATA,
            options=["--request-count", str(count)],
            limit_s=10 + 4 * seconds,
            meanwhile=meanwhile,
        )

    start = run(concurrency, lambda: None)
    if start.timed_out:
        return start.why
    # Triton's count, because perf_analyzer doesn't report the requests of its warm-up.
    counter = Counter(station.server, NULL)
    finished = run(requests, counter.look)
    answered = counter.answered()
    per_s = counter.per_s(answered)
    if finished.figures is None or per_s is None:
        return (
            finished.why
            if finished.figures is None
            else "perf_analyzer was done before Triton was asked twice"
        )
    return Client(
        cpu_us_per_request=(finished.cpu_s - start.cpu_s) / answered * 1e6,
        throughput_per_s=per_s,
        p50_us=finished.figures.p50_s * 1e6,
        p99_us=finished.figures.p99_s * 1e6,
    )


def _comparison(
    protocol: Protocol, concurrency: int, rounds: int, done: Sequence[_Round], troubles: Sequence[str]
) -> Comparison:
    def ratio(of: Callable[[Client], float]) -> float | None:
        ratios = [of(each.ours) / of(each.theirs) for each in done if of(each.theirs) > 0]
        return statistics.median(ratios) if ratios else None

    why = f"{len(troubles)} of {rounds} rounds have no figures: {troubles[-1]}" if troubles else None
    return Comparison(
        protocol=protocol,
        concurrency=concurrency,
        rounds=len(done),
        cpu_ratio=ratio(lambda client: client.cpu_us_per_request),
        throughput_ratio=ratio(lambda client: client.throughput_per_s),
        p50_ratio=ratio(lambda client: client.p50_us),
        p99_ratio=ratio(lambda client: client.p99_us),
        harness=_median([each.ours for each in done]),
        perf_analyzer=_median([each.theirs for each in done]),
        why=why,
    )


def _median(clients: Sequence[Client]) -> Client | None:
    if not clients:
        return None
    return Client(
        cpu_us_per_request=statistics.median(client.cpu_us_per_request for client in clients),
        throughput_per_s=statistics.median(client.throughput_per_s for client in clients),
        p50_us=statistics.median(client.p50_us for client in clients),
        p99_us=statistics.median(client.p99_us for client in clients),
    )
