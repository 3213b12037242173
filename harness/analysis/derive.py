"""From raw samples to the result of a point; the same samples always give the same result."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.analysis import objective, steady, validity
from harness.analysis.bottleneck import bottleneck, composing_models
from harness.analysis.by_replica import as_one, replica_figures
from harness.analysis.facts import Facts
from harness.analysis.gates.all_gates import GATES
from harness.analysis.gates.gate import Evidence, Gate
from harness.analysis.gpu import gpu_figures, gpu_watch
from harness.analysis.host import host_figures
from harness.analysis.latency import rate, summarize
from harness.analysis.objective import limits_latency
from harness.analysis.own_clock import on_own_clock
from harness.analysis.quantile import Seconds, quantiles
from harness.schema.observed import Observed
from harness.schema.point import Point
from harness.schema.result import (
    ClassFigures,
    GpuFigures,
    Interval,
    Latency,
    PointResult,
    ServerFigures,
    SteadyState,
    TimeSplit,
)
from harness.schema.samples import GpuReading, HostReading, Measured, Status, Window

Mask = npt.NDArray[np.bool_]
Times = npt.NDArray[np.int64]

OF_ONE_ARM = ("energy_j_per_inference", "idle_energy_j_per_inference", "server_memory_bytes_max")
"""What is read of a GPU that several arms use says none of these of one of them."""

PIECE = 1 << 18
"""Requests whose times are subtracted at once."""


def derive(
    point: Point,
    observed: Observed,
    measured: Measured,
    texts: Sequence[str],
    host: Sequence[HostReading],
    gpu: Sequence[GpuReading],
    *,
    samples: str,
    gates: Sequence[Gate] = GATES,
    lost: Sequence[str] = (),
) -> PointResult:
    """The figures and verdict of one point.

    `measured` are the requests of the measured phase, of replicas as `analysis.by_replica` says; `texts` the
    error texts that their `reason` points into; `samples` the folder they are kept in, relative to the run's;
    `gates` what the point must pass; `lost` says which readings were made and aren't there any more.
    """
    if observed.arm is not None:
        measured = on_own_clock(measured, observed.arm)
    spread = measured
    if observed.replicas:
        measured = as_one(spread, len(point.requests))
    ok = measured.ok
    window = Window(*observed.window_ns) if observed.window_ns else None
    enough = measured if observed.enough_ns is None else measured.due_before(observed.enough_ns)
    steady_state, latency_s = _steady(point, enough)
    if observed.enough_ns is not None:
        steady_state = steady_state.model_copy(update={"counted_requests": latency_s.size})
    seconds = _seconds_of(enough, steady_state)
    found = quantiles(latency_s)
    latency = summarize(latency_s, seconds=seconds, found=found)
    largest_s = latency.max if latency.max is not None else math.inf
    if limits_latency(point.objective) and not enough.ok.all():
        with_failed_s = _with_failed_s(enough, steady_state, latency_s)
        found, largest_s = quantiles(with_failed_s), float(with_failed_s.max(initial=0.0))
        del with_failed_s
    first, last = steady_state.skipped_requests, steady_state.skipped_requests + latency_s.size
    del latency_s  # each array is as large as a tenth of what 10 million requests may take
    service_s = _seconds(measured.completed_ns, measured.sent_ns, ok)
    service = summarize(service_s[first:last], seconds=seconds)
    service_mean_s = float(service_s.mean()) if service_s.size else None
    time_s = _time_split(measured, service_mean_s, observed.server)
    del service_s
    throughput = _Throughput.of(point, enough)
    steady_ok = _between(first, last, ok)
    inferences = _inferences(point, measured, ok)
    sent = measured.size if observed.arm is None else sum(each.requests for each in observed.load_processes)
    errors = measured.size - int(np.count_nonzero(ok))
    facts = Facts(
        requests=measured.size,
        errors=errors,
        seconds=window.seconds if window else None,
        latency=latency,
        service=service,
        service_mean_s=service_mean_s,
        throughput_requests_per_s=throughput.requests_per_s,
        send_lag_p99_s=_send_lag_p99_s(measured) if point.load.open_loop else None,
        in_flight_mean=_in_flight_mean(measured),
        backlog=_backlog(measured) if point.load.open_loop else None,
        steady=steady_state,
        time_s=time_s,
        server=observed.server,
        host=host_figures(host, window, sent, observed.cores) if window else None,
        gpu=_gpu_figures(observed, gpu, window, inferences) if window else None,
        gpu_watch=gpu_watch(gpu, observed.gpus, window) if window else (),
        objective=objective.check(
            point.objective,
            within=found,
            largest_s=largest_s,
            requests=measured.size,
            errors=errors,
            throughput=throughput.inferences_per_s,
            throughput_interval=throughput.interval,
        ),
        replicas=replica_figures(observed, spread, steady_ok, len(point.requests)),
    )
    judgement = validity.judge(Evidence(point, observed, facts, measured, host, gpu, lost), gates)
    return PointResult(
        id=point.id,
        params=point.params,
        workload=point.workload,
        configuration=point.configuration,
        point=point,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        notes=judgement.notes,
        started_at=observed.started_at,
        duration_s=facts.seconds,
        stopped_by=observed.stopped_by,
        steady_state=steady_state,
        requests=measured.size,
        errors=errors,
        error_reasons=_error_reasons(measured, texts),
        throughput_requests_per_s=throughput.requests_per_s,
        throughput_inferences_per_s=throughput.inferences_per_s,
        throughput_interval_95=throughput.interval,
        latency_s=latency,
        service_s=service,
        send_lag_p99_s=facts.send_lag_p99_s,
        classes=tuple(_class_figures(point, measured, steady_ok, latency)),
        load_processes=observed.load_processes,
        answer_check=observed.answer_check,
        in_flight_mean=facts.in_flight_mean,
        server=observed.server,
        replicas=facts.replicas,
        composing=composing_models(observed, facts.seconds),
        time_s=time_s,
        bottleneck=bottleneck(point, observed, facts),
        execution_provider=observed.execution_provider,
        loaded=observed.loaded,
        gpu=facts.gpu,
        gpu_probe=observed.gpu_probe,
        host=facts.host,
        objective=facts.objective,
        samples=samples,
    )


def _gpu_figures(
    observed: Observed, readings: Sequence[GpuReading], window: Window, inferences: int
) -> tuple[GpuFigures, ...] | None:
    figures = gpu_figures(
        readings,
        observed.gpus,
        window,
        inferences,
        idle=Window(*observed.idle_ns) if observed.idle_ns else None,
        load_pids={process.pid for process in observed.load_processes if process.pid is not None},
    )
    if observed.arm is None or figures is None:
        return figures
    nobodys = dict.fromkeys(OF_ONE_ARM)
    why = dict.fromkeys(OF_ONE_ARM, "arms that take turns share the GPU")
    return tuple(
        each.model_copy(update={**nobodys, "unsupported": each.unsupported | why}) for each in figures
    )


def _seconds(ends_ns: Times, starts_ns: Times | int, keep: Mask) -> Seconds:
    """How long those to `keep` took, in order; made in pieces, so that nothing else is as large."""
    starts_ns = np.broadcast_to(np.asarray(starts_ns), ends_ns.shape)
    seconds = np.empty(np.count_nonzero(keep), dtype=np.float64)
    end = 0
    for first in range(0, ends_ns.size, PIECE):
        piece = slice(first, first + PIECE)
        kept = keep[piece]
        took_ns = ends_ns[piece][kept] - starts_ns[piece][kept]
        np.divide(took_ns, 1e9, out=seconds[end : end + took_ns.size])
        end += took_ns.size
    return seconds


def _inferences(point: Point, measured: Measured, keep: Mask) -> int:
    return sum(
        kind.batch * int(np.count_nonzero((measured.request_class == index) & keep))
        for index, kind in enumerate(point.requests)
    )


def _between(first: int, last: int, ok: Mask) -> Mask:
    """The successes from number `first` up to `last`, of those that `ok` marks."""
    among = np.flatnonzero(ok)[first:last]
    if among.size == np.count_nonzero(ok):
        return ok
    kept = np.zeros_like(ok)
    kept[among] = True
    return kept


def _steady(point: Point, enough: Measured) -> tuple[SteadyState, Seconds]:
    """How the point came to its steady state, and the latencies of the successes in it.

    A load that changes by design has no steady state to come to.
    """
    ok = enough.ok
    latency_s = _seconds(enough.completed_ns, enough.intended_ns, ok)
    if not point.load.steady_by_design:
        why = f"not tested: the load ({point.load.label}) changes by design"
        return SteadyState(steady=None, skipped_requests=0, skipped_s=0.0, why=why), latency_s
    first_ns = int(enough.intended_ns[np.argmax(ok)]) if latency_s.size else 0
    due_s = _seconds(enough.intended_ns, first_ns, ok)
    found = steady.find(latency_s, due_s, limit=point.validity.drift)
    return found, latency_s[found.skipped_requests :]


def _seconds_of(enough: Measured, steady_state: SteadyState) -> float:
    """How long the load went on after the initial transient."""
    if enough.size == 0:
        return 0.0
    return int(enough.intended_ns[-1] - enough.intended_ns[0]) / 1e9 - steady_state.skipped_s


def _with_failed_s(enough: Measured, steady_state: SteadyState, latency_s: Seconds) -> Seconds:
    """The latency of each request of the steady state, in the order they were due; `inf` for one that failed.

    `latency_s` are those of the successes among them.
    """
    ok = enough.ok
    before = steady_state.skipped_requests
    first = int(np.flatnonzero(ok)[before - 1]) + 1 if before else 0
    seconds = np.full(enough.size - first, np.inf)
    seconds[ok[first:]] = latency_s
    return seconds


def _time_split(measured: Measured, mean_s: float | None, server: ServerFigures | None) -> TimeSplit:
    """Means over the successful requests of the whole measured phase, as Triton's are."""
    inside = (
        [server.queue_s, server.compute_input_s, server.compute_infer_s, server.compute_output_s]
        if server
        else [None] * 4
    )
    known = [part for part in inside if part is not None]
    # Where parts are missing, as with answers from the response cache, the whole is known all the same.
    in_triton_s = sum(known) if len(known) == len(inside) else server.request_s if server else None
    network_s = mean_s - in_triton_s if mean_s is not None and in_triton_s is not None else None
    lag_s = None
    if measured.size:
        lag_s = float(np.mean(measured.sent_ns - measured.intended_ns)) / 1e9
    queue_s, input_s, compute_s, output_s = inside
    return TimeSplit(
        client_s=lag_s,
        # two clocks' noise can make it less than nothing, which isn't an observation
        network_s=network_s if network_s is not None and network_s >= 0 else None,
        queue_s=queue_s,
        input_s=input_s,
        compute_s=compute_s,
        output_s=output_s,
    )


def _in_flight_mean(measured: Measured) -> float | None:
    """The time average of requests sent and not yet ended, from the first send to the last."""
    if measured.size == 0:
        return None
    first, last = int(measured.sent_ns.min()), int(measured.sent_ns.max())
    if last <= first:
        return None
    took_ns = np.minimum(measured.completed_ns, last)
    took_ns -= measured.sent_ns
    return float(took_ns.sum(dtype=np.float64)) / (last - first)


def _backlog(measured: Measured) -> tuple[int, int] | None:
    if measured.size == 0:
        return None
    start, end = int(measured.intended_ns[0]), int(measured.intended_ns[-1])

    def waiting(at_ns: float) -> int:
        due = int(np.searchsorted(measured.intended_ns, at_ns, side="right"))
        return due - int(np.count_nonzero(measured.completed_ns <= at_ns))

    return waiting((start + end) / 2), waiting(end)


def _send_lag_p99_s(measured: Measured) -> float | None:
    if measured.size == 0:
        return None
    every = np.ones(measured.size, dtype=np.bool_)
    lag_s = _seconds(measured.sent_ns, measured.intended_ns, every)
    return float(np.quantile(lag_s, 0.99, overwrite_input=True))


class _Throughput:
    """Requests a second, inferences a second, and the latter's interval."""

    def __init__(
        self, requests_per_s: float | None, inferences_per_s: float | None, interval: Interval | None
    ) -> None:
        self.requests_per_s, self.inferences_per_s, self.interval = requests_per_s, inferences_per_s, interval

    @classmethod
    def of(cls, point: Point, measured: Measured) -> _Throughput:
        """Counted from the first intended send to the last one: the drain after it, in which fewer and fewer
        requests are in flight, would make a server look slower than it was."""
        ok = measured.ok
        if not ok.any():
            return cls(None, None, None)
        start = int(measured.intended_ns[0])
        last = int(measured.sent_ns.max())
        seconds = (last - start) / 1e9
        if seconds <= 0:
            return cls(None, None, None)
        requests_per_s, interval = rate(_seconds(measured.completed_ns, start, ok), seconds)
        inside = ok & (measured.completed_ns < last)
        inferences_per_s = _inferences(point, measured, inside) / seconds
        if interval is None or requests_per_s == 0:
            return cls(requests_per_s, inferences_per_s, None)
        # The interval of the requests' rate, carried over by the mean batch that was sent.
        mean_batch = inferences_per_s / requests_per_s
        return cls(requests_per_s, inferences_per_s, (interval[0] * mean_batch, interval[1] * mean_batch))


def _error_reasons(measured: Measured, texts: Sequence[str]) -> dict[str, int]:
    """Counts by reason, the most frequent first."""
    failed = measured.status != Status.OK
    kinds, counts = np.unique(
        measured.status[failed].astype(np.int64) << 16 | measured.reason[failed], return_counts=True
    )
    words: dict[str, int] = {}
    for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        status, reason = kind >> 16, kind & 0xFFFF
        text = texts[reason - 1] if reason else Status(status).name.lower()
        words[text] = words.get(text, 0) + count
    return dict(sorted(words.items(), key=lambda item: -item[1]))


def _class_figures(point: Point, measured: Measured, steady_ok: Mask, latency: Latency) -> list[ClassFigures]:
    """The figures of each class. `latency` is that of all classes."""
    figures = []
    for index, kind in enumerate(point.requests):
        mine = measured.request_class == index
        figures.append(
            ClassFigures(
                name=kind.name,
                batch=kind.batch,
                axes=kind.axes,
                requests=int(np.count_nonzero(mine)),
                errors=int(np.count_nonzero(mine & (measured.status != Status.OK))),
                latency_s=latency
                if len(point.requests) == 1
                else summarize(_seconds(measured.completed_ns, measured.intended_ns, mine & steady_ok)),
            )
        )
    return figures
