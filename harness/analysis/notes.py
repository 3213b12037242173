"""What a reader should know of a point that doesn't make it invalid."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis.by_replica import unlike_words
from harness.analysis.facts import Facts
from harness.analysis.gates.answers import different_words, wrong_words
from harness.analysis.gates.gate import Evidence
from harness.analysis.gpu import gpu_name, may_use
from harness.schema.observed import Observed
from harness.schema.point import Point

WATCHED = 0.9
"""Share of the measured phase in which a GPU must have been read, or it is noted."""

ENERGY_DIFFERS = 0.1
"""Share by which the integrated power readings may miss the energy counter, or it is noted."""

PROBE_CORES = 0.01
"""What reading the GPUs may cost, or it is noted."""


def notes_on(evidence: Evidence) -> Iterator[str]:
    """A sentence for each; latency and throughput are as they were measured all the same."""
    point, observed, facts = evidence.point, evidence.observed, evidence.facts
    yield from observed.problems
    if facts.server is None:
        yield "Triton's statistics could not be read, so its count was not compared with the client's"
    elif facts.server.cache_hits and point.server.response_cache:
        yield f"{facts.server.cache_hits} answers came from the response cache, as asked"
    seen = observed.answer_check
    if seen is not None:
        if 0 < seen.unlike_first <= point.validity.different_answers * seen.against_first:
            yield different_words(seen)
        if 0 < seen.wrong <= point.validity.wrong_answers * seen.validated:
            yield wrong_words(seen)
    if facts.errors:
        yield (
            f"{facts.errors:,} of {facts.requests:,} requests failed: latency is of those that succeeded; "
            "to the objective a failed one is over every limit"
        )
    if resent := sum(process.resent for process in observed.load_processes):
        yield (
            f"{resent} requests were sent again on a new connection: the server, or a proxy before it, had "
            "closed the idle one"
        )
    yield from unlike_words(facts.replicas)
    if facts.latency.p50 is not None and facts.latency.p99 is None:
        yield "the sample is too small, or too correlated, for a p99"
    if observed.stopped_by == "time" and point.measure.precision is not None:
        yield "the intervals were not as narrow as measure.precision asks when at_most_s was over"
    if facts.host is not None and facts.host.foreign_cpu_cores is None:
        yield "how much of this machine's CPU other processes used was not observed"
    yield from _gpu_notes(point, observed, facts)


def _gpu_notes(point: Point, observed: Observed, facts: Facts) -> Iterator[str]:
    if point.server.kind == "gpu" and not observed.gpus:
        yield f"what the GPU did was not observed: {observed.no_gpu or 'none was found'}"
    provider = observed.execution_provider
    mine = [w for w in facts.gpu_watch if may_use(point, w.device, provider)]
    unwatched = [w for w in mine if not w.lost and w.seen < WATCHED]
    if unwatched:
        names = ", ".join(gpu_name(w) for w in unwatched)
        yield (
            f"only {min(w.seen for w in unwatched):.0%} of the measured phase was watched on {names}: "
            "throttling and other processes may have gone unseen"
        )
    for gpu in facts.gpu or ():
        if not may_use(point, gpu.device, provider):
            continue
        name = gpu_name(gpu)
        if "sw_power_cap" in (gpu.throttle_reasons or ()):
            yield f"{name} ran at its power cap, which is what loaded GPUs do"
        counter_j, power_j = gpu.energy_j, gpu.energy_j_by_power
        if counter_j and power_j is not None and abs(power_j - counter_j) > ENERGY_DIFFERS * counter_j:
            yield (
                f"{name} used {counter_j:.4g} J by its counter, which is taken, and {power_j:.4g} J by its "
                "power readings"
            )
    probe = observed.gpu_probe
    if probe is not None and probe.cpu_cores is not None and probe.cpu_cores > PROBE_CORES:
        yield f"reading the GPUs took {probe.cpu_cores:.1%} of a core, over {PROBE_CORES:.0%}"
