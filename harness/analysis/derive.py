"""From raw samples to the result of a point; the same samples always give the same result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.analysis import objective, validity
from harness.analysis.latency import Seconds, rate, summarize
from harness.analysis.observation import gpu_figures, host_figures
from harness.schema.observed import Observed
from harness.schema.point import Point
from harness.schema.result import ClassFigures, PointResult
from harness.schema.samples import GpuReading, HostReading, Phase, Requests, Status, Window


def derive(
    point: Point,
    observed: Observed,
    requests: Requests,
    texts: Sequence[str],
    host: Sequence[HostReading],
    gpu: Sequence[GpuReading],
    *,
    samples: str,
) -> PointResult:
    """The figures and verdict of one point.

    `requests` are all that was recorded, warm-up included; `texts` the error texts that their `reason`
    points into; `samples` the folder they are kept in, relative to the run's.
    """
    measured = requests[requests["phase"] == Phase.MEASURE]
    measured = measured[np.argsort(measured["intended_ns"], kind="stable")]
    ok = measured[measured["status"] == Status.OK]
    errors = int(measured.size - ok.size)
    latency = summarize(_seconds(ok, "intended_ns"))
    service = summarize(_seconds(ok, "sent_ns"))
    lag = _send_lag_p99_s(measured) if point.load.open_loop else None
    throughput, inferences_per_s, interval = _throughput(point, measured)
    window = Window(*observed.window_ns) if observed.window_ns else None
    inferences = int(_batches(point)[ok["request_class"]].sum()) if ok.size else 0
    checks = objective.check(
        point.objective,
        latency=latency,
        requests=int(measured.size),
        errors=errors,
        throughput=inferences_per_s,
        throughput_interval=interval,
    )
    judgement = validity.judge(
        point, observed, measured, latency=latency, send_lag_p99_s=lag, objective=checks
    )
    return PointResult(
        id=point.id,
        params=point.params,
        point=point,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        notes=judgement.notes,
        started_at=observed.started_at,
        duration_s=window.seconds if window else None,
        requests=int(measured.size),
        errors=errors,
        error_reasons=_error_reasons(measured, texts),
        throughput_requests_per_s=throughput,
        throughput_inferences_per_s=inferences_per_s,
        throughput_interval_95=interval,
        latency_s=latency,
        service_s=service,
        send_lag_p99_s=lag,
        classes=tuple(_class_figures(point, measured)),
        server=observed.server,
        gpu=gpu_figures(gpu, observed.gpus, window, inferences) if window else None,
        host=host_figures(host, window, int(measured.size), observed.cores) if window else None,
        objective=checks,
        samples=samples,
    )


def _seconds(requests: Requests, since: str) -> Seconds:
    return np.asarray(requests["completed_ns"] - requests[since], dtype=np.float64) / 1e9


def _batches(point: Point) -> npt.NDArray[np.int64]:
    return np.array([c.batch for c in point.requests], dtype=np.int64)


def _send_lag_p99_s(requests: Requests) -> float | None:
    if requests.size == 0:
        return None
    return float(np.quantile(requests["sent_ns"] - requests["intended_ns"], 0.99)) / 1e9


def _throughput(
    point: Point, measured: Requests
) -> tuple[float | None, float | None, tuple[float, float] | None]:
    """Requests a second, inferences a second, and the latter's interval.

    Counted from the first intended send to the last one: the drain after it, in which fewer and fewer
    requests are under way, would make a server look slower than it was.
    """
    ok = measured[measured["status"] == Status.OK]
    if ok.size == 0:
        return None, None, None
    start = int(measured["intended_ns"].min())
    seconds = (int(measured["sent_ns"].max()) - start) / 1e9
    if seconds <= 0:
        return None, None, None
    completed_s = (ok["completed_ns"] - start) / 1e9
    requests_per_s, interval = rate(completed_s, seconds)
    inside = ok[completed_s < seconds]
    inferences_per_s = float(_batches(point)[inside["request_class"]].sum()) / seconds
    if interval is None or requests_per_s == 0:
        return requests_per_s, inferences_per_s, None
    # The interval of the requests' rate, carried over by the mean batch that was sent.
    mean_batch = inferences_per_s / requests_per_s
    return requests_per_s, inferences_per_s, (interval[0] * mean_batch, interval[1] * mean_batch)


def _error_reasons(measured: Requests, texts: Sequence[str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    failed = measured[measured["status"] != Status.OK]
    for status, reason in zip(failed["status"].tolist(), failed["reason"].tolist(), strict=True):
        counts[texts[reason - 1] if reason else Status(status).name.lower()] += 1
    return dict(counts.most_common())


def _class_figures(point: Point, measured: Requests) -> list[ClassFigures]:
    figures = []
    for index, kind in enumerate(point.requests):
        mine = measured[measured["request_class"] == index]
        ok = mine[mine["status"] == Status.OK]
        figures.append(
            ClassFigures(
                name=kind.name,
                batch=kind.batch,
                axes=kind.axes,
                requests=int(mine.size),
                errors=int(mine.size - ok.size),
                latency_s=summarize(_seconds(ok, "intended_ns")),
            )
        )
    return figures
