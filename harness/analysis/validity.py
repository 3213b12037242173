"""The gates a point must pass before its figures may be used. Each is one sentence a reader can act on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.analysis.facts import Facts
from harness.schema.observed import Observed
from harness.schema.point import Point
from harness.schema.result import ServerFigures, Verdict

LAG_LIMIT_OF_P50 = 0.1
"""Send lag under this share of the median latency is let pass: it changes no conclusion."""

BACKLOG_GROWTH = 1.5
"""A backlog at the end over this many times the one at half time, by 10 requests or more, never settled.
One that grows steadily from nothing doubles."""


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def judge(point: Point, observed: Observed, facts: Facts) -> Judgement:
    """Judge one point by what was observed of it."""
    notes = tuple(_notes(observed, facts))
    invalid = tuple(_invalid(point, observed, facts))
    if invalid:
        return Judgement("invalid", invalid, notes)
    unsure = tuple(_unsure(facts))
    if unsure:
        return Judgement("inconclusive", unsure, notes)
    return Judgement("valid", (), notes)


def _invalid(point: Point, observed: Observed, facts: Facts) -> Iterator[str]:
    limits = point.validity
    if observed.ended is not None:
        yield observed.ended
    if facts.requests == 0:
        yield "no request ended in the measured phase"
        return
    ok = facts.requests - facts.errors
    if facts.errors / facts.requests > limits.errors:
        yield (
            f"{facts.errors} of {facts.requests} requests failed, over {limits.errors:.0%}: "
            "the latency of the others doesn't stand for the load"
        )
    if observed.ended is None and facts.server is not None and _succeeded(facts.server) != ok:
        yield (
            f"the client counted {ok} answers and Triton {_succeeded(facts.server)}: "
            "somebody else uses the model, or answers were lost"
        )
    for process in observed.load_processes:
        used = process.cpu_s / facts.seconds if process.cpu_s is not None and facts.seconds else 0.0
        if used > limits.client_cpu:
            yield (
                f"the load generator used {used:.0%} of a core, over {limits.client_cpu:.0%}: "
                "it measured itself, not the server"
            )
    lag_s, p50_s = facts.send_lag_p99_s, facts.latency.p50 or 0.0
    if lag_s is not None and lag_s > max(limits.send_lag_ms / 1e3, LAG_LIMIT_OF_P50 * p50_s):
        yield f"the client couldn't keep up: 1% of the requests were sent {lag_s * 1e3:.1f} ms late or more"


def _succeeded(server: ServerFigures) -> int:
    return server.requests - server.failures


def _unsure(facts: Facts) -> Iterator[str]:
    if facts.latency.p50 is None:
        few = f"{facts.requests} requests are too few even for a median"
        yield f"{few}: raise measure.duration_s or at_most_s"
    for check in facts.objective:
        if check.met is None and check.observed is None:
            yield (
                f"the objective {check.name} can't be judged, because the sample can't support the figure: "
                "raise measure.duration_s or at_most_s"
            )
    if facts.backlog is not None:
        half, last = facts.backlog
        if last > BACKLOG_GROWTH * half and last - half >= 10:
            yield (
                f"never steady: {half} requests were waiting at half time and {last} at the end, "
                "so the server is offered more than it can do, and latency depends on how long one looks"
            )


def _notes(observed: Observed, facts: Facts) -> Iterator[str]:
    yield from observed.problems
    if facts.server is None:
        yield "Triton's statistics could not be read, so its count was not compared with the client's"
    elif facts.server.cache_hits:
        yield f"{facts.server.cache_hits} answers came from the response cache"
    if facts.latency.p50 is not None and facts.latency.p99 is None:
        yield "the sample is too small, or too correlated, for a p99"
