"""To send to several arms in turns: the two ways of `loops`, each request to the arm whose turn it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic_ns

import gevent
from gevent.event import Event

from harness.load.arrivals import Times
from harness.load.kept_answers import KeptAnswers
from harness.load.process.loops import Draws, OpenLoop, Payloads, Record, call, rest
from harness.load.wire import Connection
from harness.schema.turns import Turns


class Turn:
    """Whose turn it is in one phase, for all users of a closed loop in this process."""

    def __init__(self, turns: Turns, start_ns: int) -> None:
        self._turns, self._start_ns = turns, start_ns
        self._order = turns.order()
        self._arm = 0
        self._in_flight = 0
        self._answered = Event()

    def take(self) -> int:
        """The arm of the next request. Waits, where the turn is another arm's than before, until that one
        owes no answer. Say `give` when the request has its own."""
        if self._turns.block_s is None:  # of a lone user, who awaits each answer
            self._in_flight = 1
            return next(self._order)
        while True:
            arm = self._turns.arm_at((monotonic_ns() - self._start_ns) / 1e9)
            if arm == self._arm or not self._in_flight:
                self._arm = arm
                self._in_flight += 1
                return arm
            self._answered.wait()

    def give(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            answered, self._answered = self._answered, Event()
            answered.set()


def closed_loop_in_turns(
    connections: Sequence[Connection],
    payloads: Payloads,
    draws: Sequence[Draws],
    turn: Turn,
    more: Callable[[], bool],
    record: Record,
    kept: KeptAnswers,
) -> None:
    """As `closed_loop`. `connections` and `draws` are those of each arm."""
    turn_ns = 0
    while more():
        arm = turn.take()
        request_class, variant = next(draws[arm])
        intended_ns = monotonic_ns()
        reply = call(connections[arm], payloads, request_class, variant, intended_ns, kept)
        turn.give()
        record(request_class, intended_ns, reply)
        if reply.completed_ns > turn_ns or reply.reason is not None:
            turn_ns = rest(connections[arm], reply)


def open_loop_in_turns(
    pools: Sequence[OpenLoop],
    turns: Turns,
    start_ns: int,
    times: Times,
    draws: Sequence[Draws],
    due: Callable[[int], bool],
) -> None:
    """As `OpenLoop.run`, where each arm has a pool of its own and all have the same `times`, on the clock of
    their own turns."""
    loops = [
        gevent.spawn(pool.run, start_ns, turns.of_phase(arm, times), draws[arm], due)
        for arm, pool in enumerate(pools)
    ]
    gevent.joinall(loops, raise_error=True)
