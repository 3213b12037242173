"""Gates that ask whether the client put the load on the server that was asked for, and timed it rightly."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis.gates.gate import Evidence, gate
from harness.schema.scenario import Validity

DEFAULTS = Validity()

LAG_LIMIT_OF_P50 = 0.1
"""Send lag under this share of the median latency passes: it changes no conclusion."""

USERS_EXCEEDED = 1.02
"""Requests in flight over users. A user has one at a time, so more means that the times are wrong; 2% is what
clocks of several machines may be off."""

SERVER_LONGER = 1.1
SERVER_LONGER_S = 0.001
"""Triton's mean request time may exceed the client's by this share, or by this, whichever is more: it stamps
the end of a request after it has handed over the answers of the whole batch, when the client may have read
them. Anything more can't be: the client's time holds Triton's."""


@gate(f"a load process used more than {DEFAULTS.client_cpu:.0%} of a core", limit="client_cpu")
def busy_client(evidence: Evidence) -> Iterator[str]:
    limit, seconds = evidence.point.validity.client_cpu, evidence.facts.seconds
    several = len(evidence.observed.load_processes) > 1
    for process in evidence.observed.load_processes:
        cores = process.cpu_s / seconds if process.cpu_s is not None and seconds else 0.0
        if cores > limit:
            which = f"load process {process.worker} on {process.host or 'this host'}" if several else "it"
            yield (
                f"the load generator measured itself, not the server: {which} used {cores:.0%} of a core, "
                f"over {limit:.0%}; raise load.workers where there are cores for them"
            )


@gate(
    f"send lag (p99) over {DEFAULTS.send_lag_ms:g} ms, and over a tenth of the median latency",
    limit="send_lag_ms",
)
def late_sends(evidence: Evidence) -> Iterator[str]:
    limit_s = evidence.point.validity.send_lag_ms / 1e3
    lag_s, p50_s = evidence.facts.send_lag_p99_s, evidence.facts.latency.p50 or 0.0
    if lag_s is not None and lag_s > max(limit_s, LAG_LIMIT_OF_P50 * p50_s):
        yield f"the client couldn't keep up: 1% of the requests were sent {lag_s * 1e3:.1f} ms late or more"


@gate(
    f"in a closed loop, users had a request in flight for less than {1 - DEFAULTS.idle_users:.0%} of their "
    f"time, or for more than {USERS_EXCEEDED:.0%}",
    limit="idle_users",
)
def users_in_flight(evidence: Evidence) -> Iterator[str]:
    """Little's law: what is in flight is rate times time, and a closed loop's users are known."""
    users, in_flight = evidence.point.load.shape.users, evidence.facts.in_flight_mean
    if users is None or in_flight is None:
        return
    if in_flight < (1 - evidence.point.validity.idle_users) * users:
        yield (
            f"on average {in_flight:.1f} of {users} users had a request in flight: the client spent the "
            "rest of the time itself, so the server was under less load than asked; raise load.workers"
        )
    elif in_flight > USERS_EXCEEDED * users:
        yield (
            f"on average {in_flight:.1f} requests were in flight, and {users} users can have no more "
            "than one each: the clocks of the load processes don't agree"
        )


@gate(
    f"Triton's mean request time exceeds the client's by more than {SERVER_LONGER - 1:.0%}, and by more than "
    f"{SERVER_LONGER_S * 1e3:g} ms"
)
def server_longer(evidence: Evidence) -> Iterator[str]:
    """The client's time holds Triton's, so Triton's own clock can't have seen more of it."""
    server, outside_s = evidence.facts.server, evidence.facts.service_mean_s
    inside_s = server.request_s if server is not None else None
    if inside_s is None or outside_s is None:
        return
    if inside_s > max(SERVER_LONGER * outside_s, outside_s + SERVER_LONGER_S):
        yield (
            f"Triton had a request for {inside_s * 1e3:.2f} ms on average, and the client, which waits for "
            f"Triton, for {outside_s * 1e3:.2f} ms: one of the two doesn't measure these requests"
        )


GATES = (busy_client, late_sends, users_in_flight, server_longer)
