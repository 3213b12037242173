"""The gates a point must pass before its figures may be used. Each is one sentence a reader can act on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.schema.observed import Observed
from harness.schema.point import Point
from harness.schema.result import Latency, ObjectiveCheck, ServerFigures, Verdict
from harness.schema.samples import Requests, Status

CLIENT_CPU_LIMIT = 0.9
"""Cores that one load process may use: Locust runs on one, and near it the client queues its own work."""

ERROR_LIMIT = 0.05
"""Share of failed requests over which the survivors no longer stand for the load that was asked for."""

LAG_LIMIT_S = 0.005
LAG_LIMIT_OF_P50 = 0.1
"""Send lag (p99) over both of these, 5 ms and a tenth of the median latency, was the client's doing."""

BACKLOG_GROWTH = 1.5
"""A backlog at the end over this many times the one at half time, by 10 requests or more, never settled.
One that grows steadily from nothing doubles."""


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def judge(
    point: Point,
    observed: Observed,
    requests: Requests,
    *,
    latency: Latency,
    send_lag_p99_s: float | None,
    objective: tuple[ObjectiveCheck, ...],
) -> Judgement:
    """Judge one point. `requests` are those of the measured phase, in the order they were due."""
    invalid = list(_invalid(observed, requests, latency, send_lag_p99_s))
    unsure = [] if invalid else list(_unsure(point, requests, latency, objective))
    notes = list(_notes(observed, latency))
    if invalid:
        return Judgement("invalid", tuple(invalid), tuple(notes))
    if unsure:
        return Judgement("inconclusive", tuple(unsure), tuple(notes))
    return Judgement("valid", (), tuple(notes))


def _invalid(observed: Observed, requests: Requests, latency: Latency, lag_s: float | None) -> list[str]:
    reasons = []
    if observed.ended is not None:
        reasons.append(observed.ended)
    ok = int(np.count_nonzero(requests["status"] == Status.OK))
    if requests.size == 0:
        reasons.append("no request ended in the measured phase")
        return reasons
    errors = requests.size - ok
    if errors / requests.size > ERROR_LIMIT:
        reasons.append(
            f"{errors} of {requests.size} requests failed, over {ERROR_LIMIT:.0%}: "
            "the latency of the others doesn't stand for the load"
        )
    if observed.ended is None and observed.server is not None and _succeeded(observed.server) != ok:
        reasons.append(
            f"the client counted {ok} answers and Triton {_succeeded(observed.server)}: "
            "somebody else uses the model, or answers were lost"
        )
    seconds = None
    if observed.window_ns is not None:
        seconds = (observed.window_ns[1] - observed.window_ns[0]) / 1e9
    if observed.client_cpu_s is not None and seconds:
        used = observed.client_cpu_s / seconds / observed.load_processes
        if used > CLIENT_CPU_LIMIT:
            reasons.append(
                f"the load generator used {used:.0%} of a core, over {CLIENT_CPU_LIMIT:.0%}: "
                "it measured itself, not the server"
            )
    if lag_s is not None and lag_s > max(LAG_LIMIT_S, LAG_LIMIT_OF_P50 * (latency.p50 or 0.0)):
        reasons.append(
            f"the client couldn't keep up: 1% of the requests were sent {lag_s * 1e3:.1f} ms late or more"
        )
    return reasons


def _succeeded(server: ServerFigures) -> int:
    return server.requests - server.failures


def _unsure(
    point: Point, requests: Requests, latency: Latency, objective: tuple[ObjectiveCheck, ...]
) -> list[str]:
    reasons = []
    if latency.p50 is None:
        reasons.append(
            f"{requests.size} requests are too few even for a median: raise measure.duration_s or at_most_s"
        )
    reasons += [
        f"the objective {check.name} can't be judged, because the sample can't support the figure: "
        "raise measure.duration_s or at_most_s"
        for check in objective
        if check.met is None and check.observed is None
    ]
    if point.load.open_loop:
        reasons += _backlog(requests)
    return reasons


def _backlog(requests: Requests) -> list[str]:
    start, end = int(requests["intended_ns"].min()), int(requests["intended_ns"].max())

    def waiting(at_ns: float) -> int:
        due = np.count_nonzero(requests["intended_ns"] <= at_ns)
        return int(due - np.count_nonzero(requests["completed_ns"] <= at_ns))

    half, last = waiting((start + end) / 2), waiting(end)
    if last > BACKLOG_GROWTH * half and last - half >= 10:
        return [
            f"never steady: {half} requests were waiting at half time and {last} at the end, "
            "so the server is offered more than it can do, and latency depends on how long one looks"
        ]
    return []


def _notes(observed: Observed, latency: Latency) -> list[str]:
    notes = list(observed.problems)
    if observed.server is None:
        notes.append("Triton's statistics could not be read, so its count was not compared with the client's")
    elif observed.server.cache_hits:
        notes.append(f"{observed.server.cache_hits} answers came from the response cache")
    if latency.p50 is not None and latency.p99 is None:
        notes.append("the sample is too small, or too correlated, for a p99")
    return notes
