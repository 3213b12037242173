"""To send to several replicas, as much to each: the two ways of `loops`, each request to the next replica.

A user of a closed loop goes round, beginning at another replica than the user before, so that they get the
same number of requests however many users there are. Source: round robin, as of gRPC's load balancing policy
of that name (gRPC docs, "Load Balancing in gRPC").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import monotonic_ns

from harness.load.arrivals import Times
from harness.load.kept_answers import KeptAnswers
from harness.load.process.loops import Draws, OpenLoop, Payloads, Record, call, handed_out, rest
from harness.load.wire import Connection


def closed_loop_spread(
    connections: Sequence[Connection],
    payloads: Payloads,
    draws: Sequence[Draws],
    order: Iterator[int],
    more: Callable[[], bool],
    record: Record,
    kept: KeptAnswers,
) -> None:
    """As `closed_loop`. `connections` and `draws` are those of each replica, `order` says which is next."""
    turn_ns = 0
    while more():
        to = next(order)
        request_class, variant = next(draws[to])
        intended_ns = monotonic_ns()
        reply = call(connections[to], payloads, request_class, variant, intended_ns, kept)
        record(request_class, intended_ns, reply)
        if reply.completed_ns > turn_ns or reply.reason is not None:
            turn_ns = rest(connections[to], reply)


def open_loop_spread(
    pools: Sequence[OpenLoop],
    start_ns: int,
    times: Times,
    draws: Sequence[Draws],
    due: Callable[[int], bool],
) -> None:
    """As `OpenLoop.run`, where each replica has a pool of its own and gets every so many-th of `times`. They
    are handed out by one, so that none is due before one that was handed out."""
    if len(pools) == 1:
        pools[0].run(start_ns, times, draws[0], due)
        return
    for number, intended_ns in enumerate(handed_out(start_ns, times, due)):
        if any(pool.has_failed for pool in pools):
            break
        to = number % len(pools)
        pools[to].hand((intended_ns, *next(draws[to])))
    for pool in pools:
        pool.finish()
