"""The gates a point must pass before its figures may be used. Each is one sentence a reader can act on.

`invalid`: the figures don't describe the server under the load that was asked for. `inconclusive`: they do,
but they can't carry the answer. docs/measurement.md has the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.analysis.facts import Facts
from harness.analysis.gpu import named, used
from harness.schema.observed import Observed
from harness.schema.point import Point
from harness.schema.result import GpuFigures, HostFigures, ServerFigures, Verdict

LAG_LIMIT_OF_P50 = 0.1
"""Send lag under this share of the median latency is let pass: it changes no conclusion."""

BUSY_USERS = 0.8
"""Share of its time that a user must have a request under way: a closed loop's throughput falls short of what
so many users could ask by the rest. What is left is for taking the answer and recording it."""

USERS_EXCEEDED = 1.02
"""Requests under way over users. A user has one at a time, so more means that the times are wrong; 2% is what
clocks of several machines may be off."""

SERVER_LONGER = 1.1
SERVER_LONGER_S = 0.001
"""Triton's mean request time may exceed the client's by this share, or by this, whichever is more: it stamps
the end of a request after it has handed over the answers of the whole batch, when the client may have read
them. Anything more can't be: the client's time holds Triton's."""

THROTTLED_SHARE = 0.02
"""Share of the cores that a CPU quota may withhold: a hundredth or two is the end of some burst."""

SLOWED_DOWN = (
    "hw_slowdown",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
)
"""NVML's clock event reasons by which a GPU is slower than it can be for longer. Its power cap
(`sw_power_cap`) isn't one: a loaded GPU at its cap is in its steady state. One reading is enough: what trips
these limits once is at them, and how long its clocks were down before and after isn't known."""

WATCHED = 0.9
"""Share of the measured phase in which a GPU must have been read, or it is noted."""

ENERGY_DIFFERS = 0.1
"""Share by which the integrated power readings may miss the energy counter, or it is noted."""

PROBE_CORES = 0.01
"""What reading the GPUs may cost, or it is noted."""


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def judge(point: Point, observed: Observed, facts: Facts) -> Judgement:
    """Judge one point by what was observed of it."""
    notes = tuple(_notes(point, observed, facts))
    invalid = tuple(_invalid(point, observed, facts))
    if invalid:
        return Judgement("invalid", invalid, notes)
    unsure = tuple(_unsure(facts))
    if unsure:
        return Judgement("inconclusive", unsure, notes)
    return Judgement("valid", (), notes)


def _invalid(point: Point, observed: Observed, facts: Facts) -> Iterator[str]:
    if observed.ended is not None:
        yield observed.ended
    for process in observed.load_processes:
        if process.lost is not None and process.lost not in (observed.ended or ""):  # else it is said
            yield (
                f"load process {process.worker} on {process.host or 'this host'} was lost, and its share of "
                f"the load with it: {process.lost}"
            )
    if observed.server_restarted is not None:
        yield f"the server or its model was started anew during the point: {observed.server_restarted}"
    for watch in facts.gpu_watch:
        if watch.lost and used(point, watch.device, observed.execution_provider):
            yield (
                f"{named(watch.device, watch.mig_instance)} was lost during the point: "
                "the kernel's log has the driver's reason, and it comes back with a reset or a reboot"
            )
    if facts.requests == 0:
        yield "no request ended in the measured phase"
        return
    yield from _answers(point, observed, facts)
    yield from _client(point, observed, facts)
    yield from _under_way(point, facts)
    if facts.host is not None:
        yield from _host(point, observed, facts.host)
    for gpu in facts.gpu or ():
        if used(point, gpu.device, observed.execution_provider):
            yield from _gpu(point, gpu)


def _answers(point: Point, observed: Observed, facts: Facts) -> Iterator[str]:
    limit, ok = point.validity.errors, facts.requests - facts.errors
    if facts.errors / facts.requests > limit:
        yield (
            f"{facts.errors} of {facts.requests} requests failed, over {limit:.0%}: "
            "the latency of the others doesn't stand for the load"
        )
    server = facts.server
    if server is None:
        return
    if observed.ended is None and _succeeded(server) != ok:
        yield (
            f"the client counted {ok} answers and Triton {_succeeded(server)}: "
            "somebody else uses the model, or answers were lost"
        )
    if server.cache_hits and not point.server.response_cache:
        yield (
            f"{server.cache_hits} answers came from a response cache that the scenario doesn't ask for, "
            "without computing: switch the cache off, or set server.response_cache"
        )


def _succeeded(server: ServerFigures) -> int:
    return server.requests - server.failures


def _client(point: Point, observed: Observed, facts: Facts) -> Iterator[str]:
    limits = point.validity
    several = len(observed.load_processes) > 1
    for process in observed.load_processes:
        used = process.cpu_s / facts.seconds if process.cpu_s is not None and facts.seconds else 0.0
        if used > limits.client_cpu:
            which = f"load process {process.worker} on {process.host or 'this host'}" if several else "it"
            yield (
                f"the load generator measured itself, not the server: {which} used {used:.0%} of a core, "
                f"over {limits.client_cpu:.0%}; raise load.workers where there are cores for them"
            )
    lag_s, p50_s = facts.send_lag_p99_s, facts.latency.p50 or 0.0
    if lag_s is not None and lag_s > max(limits.send_lag_ms / 1e3, LAG_LIMIT_OF_P50 * p50_s):
        yield f"the client couldn't keep up: 1% of the requests were sent {lag_s * 1e3:.1f} ms late or more"


def _under_way(point: Point, facts: Facts) -> Iterator[str]:
    """Little's law: what is under way is rate times time, as the users have it and as Triton has it."""
    users, under_way = point.load.shape.users, facts.in_flight_mean
    if users is not None and under_way is not None:
        if under_way < BUSY_USERS * users:
            yield (
                f"on average {under_way:.1f} of {users} users had a request under way: the client spent the "
                "rest of the time itself, so the server was under less load than asked; raise load.workers"
            )
        elif under_way > USERS_EXCEEDED * users:
            yield (
                f"on average {under_way:.1f} requests were under way, and {users} users can have no more "
                "than one each: the clocks of the load processes don't agree"
            )
    inside_s, outside_s = facts.server.request_s if facts.server else None, facts.service_mean_s
    if inside_s is None or outside_s is None:
        return
    if inside_s > max(SERVER_LONGER * outside_s, outside_s + SERVER_LONGER_S):
        yield (
            f"Triton had a request for {inside_s * 1e3:.2f} ms on average, and the client, which waits for "
            f"Triton, for {outside_s * 1e3:.2f} ms: one of the two doesn't measure these requests"
        )


def _host(point: Point, observed: Observed, host: HostFigures) -> Iterator[str]:
    limits, cores = point.validity, observed.host_cores or observed.cores
    foreign = host.foreign_cpu_cores
    if foreign is not None and limits.foreign_cpu < 1 and foreign > limits.foreign_cpu * cores:
        yield (
            f"other processes used {foreign / cores:.1%} of this machine's {cores} cores, over "
            f"{limits.foreign_cpu:.0%}: end them, or raise validity.foreign_cpu"
        )
    stolen = host.stolen_cpu_cores
    if stolen is not None and limits.stolen_cpu < 1 and stolen > limits.stolen_cpu * cores:
        yield (
            f"the hypervisor gave {stolen / cores:.1%} of this machine's {cores} cores to others, over "
            f"{limits.stolen_cpu:.0%}: measure on a machine that isn't shared, or raise validity.stolen_cpu"
        )
    throttled = host.throttled_cpu_cores
    if throttled is not None and throttled > THROTTLED_SHARE * observed.cores:
        yield (
            f"the CPU quota of this control group held its processes back, by {throttled:.2f} cores: "
            "raise the quota, or load the server less"
        )


def _gpu(point: Point, gpu: GpuFigures) -> Iterator[str]:
    name = named(gpu.device, gpu.mig_instance)
    slowed = [reason for reason in gpu.throttle_reasons or () if reason in SLOWED_DOWN]
    if slowed:
        yield f"{name} slowed itself down ({', '.join(slowed)}): see to its cooling and its power supply"
    if gpu.foreign_processes and not point.validity.foreign_gpu:
        yield (
            f"{name} was used by other processes ({', '.join(gpu.foreign_processes)}): end them, "
            "or set validity.foreign_gpu"
        )
    if gpu.ecc_errors:
        yield (
            f"{name} counted {gpu.ecc_errors} uncorrected memory error{'' if gpu.ecc_errors == 1 else 's'}: "
            "what it computed can't be trusted, so measure on another one"
        )


def _unsure(facts: Facts) -> Iterator[str]:
    if facts.steady.steady is False:
        yield f"never steady: {facts.steady.why}"
    if facts.latency.p50 is None:
        why = facts.latency.unsupported.get("p50", f"{facts.requests} requests are too few")
        yield f"not even a median is supported ({why}): raise measure.duration_s or at_most_s"
    for check in facts.objective:
        if check.met is None and check.observed is None:
            yield (
                f"the objective {check.name} can't be judged, because the sample can't support the figure: "
                "raise measure.duration_s or at_most_s"
            )


def _notes(point: Point, observed: Observed, facts: Facts) -> Iterator[str]:
    yield from observed.problems
    if facts.server is None:
        yield "Triton's statistics could not be read, so its count was not compared with the client's"
    elif facts.server.cache_hits and point.server.response_cache:
        yield f"{facts.server.cache_hits} answers came from the response cache, as asked"
    if facts.latency.p50 is not None and facts.latency.p99 is None:
        yield "the sample is too small, or too correlated, for a p99"
    if observed.stopped_by == "time" and point.measure.precision is not None:
        yield "the intervals were not as narrow as measure.precision asks when at_most_s was over"
    if facts.host is not None and facts.host.foreign_cpu_cores is None:
        yield "how much of this machine's CPU other processes used was not observed"
    yield from _gpu_notes(point, observed, facts)


def _gpu_notes(point: Point, observed: Observed, facts: Facts) -> Iterator[str]:
    """None of these makes a point invalid: its latency and throughput are as they were measured."""
    if point.server.kind == "gpu" and not observed.gpus:
        yield f"what the GPU did was not observed: {observed.no_gpu or 'none was found'}"
    provider = observed.execution_provider
    mine = [w for w in facts.gpu_watch if used(point, w.device, provider)]
    unwatched = [w for w in mine if not w.lost and w.seen < WATCHED]
    if unwatched:
        names = ", ".join(named(w.device, w.mig_instance) for w in unwatched)
        yield (
            f"only {min(w.seen for w in unwatched):.0%} of the measured phase was watched on {names}: "
            "throttling and other processes may have gone unseen"
        )
    for gpu in facts.gpu or ():
        if not used(point, gpu.device, provider):
            continue
        name = named(gpu.device, gpu.mig_instance)
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
