"""The two ways to send: a closed loop, which waits for its answers, and an open loop, which doesn't."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import monotonic_ns

import gevent
from gevent import get_hub
from gevent.event import Event
from gevent.hub import Waiter

from harness import descriptors
from harness.load.arrivals import Times
from harness.load.kept_answers import KeptAnswers
from harness.load.process.timer import ExactTimer
from harness.load.wire import Connection, Reply
from harness.schema.samples import Status

Payloads = Sequence[Sequence[bytes | memoryview]]
"""Prepared requests by class and variant."""
Draws = Iterator[tuple[int, int]]
Record = Callable[[int, int, Reply], None]
"""Is given the class, the intended send and how it ended."""

MOST_IN_FLIGHT = 1024
IDLE_S = 10.0
"""A sender of an open loop that was not needed for so long is ended, and its connection closed."""
_BACKOFF_S = 0.1
_IDLE_NS = int(IDLE_S * 1e9)
_TURN_S, _TURN_EACH_NS = 1e-6, 50_000_000
_BURST = 64
_CHUNK = 1 << 16


def closed_loop(
    connection: Connection,
    payloads: Payloads,
    draws: Draws,
    more: Callable[[], bool],
    record: Record,
    kept: KeptAnswers,
) -> None:
    """Send, wait for the answer, send again, while `more()` says so; returns with nothing in flight."""
    turn_ns = 0
    while more():
        request_class, variant = next(draws)
        intended_ns = monotonic_ns()
        reply = call(connection, payloads, request_class, variant, intended_ns, kept)
        record(request_class, intended_ns, reply)
        if reply.completed_ns > turn_ns or reply.reason is not None:
            turn_ns = rest(connection, reply)


def call(
    connection: Connection,
    payloads: Payloads,
    request_class: int,
    variant: int,
    now_ns: int,
    kept: KeptAnswers,
) -> Reply:
    """The reply to one request, which is kept where one is due."""
    if now_ns < kept.due_ns:
        return connection.call(payloads[request_class][variant])
    kept.wait(now_ns)
    reply = connection.call(payloads[request_class][variant], True)
    kept.keep(request_class, variant, reply)
    return reply


def rest(connection: Connection, reply: Reply) -> int:
    """Let others have a turn where this user would leave them none; until when it needn't again."""
    if connection.alone:
        # Its calls may never have gone through the event loop, on which all else waits.
        gevent.sleep(_TURN_S)
    if reply.reason is not None and reply.status is Status.CONNECTION:
        # A server that refuses connections would otherwise be counted as thousands of errors a second.
        gevent.sleep(_BACKOFF_S)
    return reply.completed_ns + _TURN_EACH_NS


def handed_out(start_ns: int, times: Times, due: Callable[[int], bool]) -> Iterator[int]:
    """When each request is due (`start_ns` + each of `times`, seconds), at that time. It ends with the
    first for which `due` is no longer true."""
    timer = ExactTimer()
    try:
        burst = 0
        for first in range(0, len(times), _CHUNK):
            offsets = (times[first : first + _CHUNK] * 1e9).astype("int64")
            for intended_ns in (start_ns + offsets).tolist():
                burst += 1
                if burst > _BURST or intended_ns > monotonic_ns():
                    timer.wait_until(intended_ns)
                    burst = 0
                if not due(intended_ns):
                    return
                yield intended_ns
    finally:
        timer.close()


class OpenLoop:
    """Requests at times fixed beforehand, whatever the server does.

    Each is sent by a greenlet that awaits its answer, from a pool that grows to `MOST_IN_FLIGHT`, or to as
    many as may have a connection each. Beyond it a
    request waits, which shows as sent after intended; one that still waits `timeout_s` after it was intended
    is recorded as a timeout and not sent, so that a dead server can't hold the loop for ever.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        payloads: Iterator[Payloads],
        record: Record,
        timeout_s: float,
        kept: KeptAnswers | None = None,
        *,
        among: int = 1,
    ) -> None:
        """Each new sender's connection takes its requests from the next of `payloads`. `among`: how many such
        loops share what this process may have open."""
        self._connect, self._payloads, self._record = connect, payloads, record
        self._timeout_s, self._kept = timeout_s, kept or KeptAnswers(None)
        self._most = max(1, min(MOST_IN_FLIGHT, (descriptors.limit() - descriptors.OF_A_PROCESS) // among))
        self._free: deque[tuple[int, Waiter]] = deque()
        """Senders that wait for a request, and since when; the one that is taken next is at the end."""
        self._senders: set[gevent.Greenlet] = set()
        self._waiting: deque[tuple[int, int, int]] = deque()
        self._unanswered = 0
        self._idle = Event()
        self._error: Exception | None = None
        """What has ended a sender: no answer does."""

    def run(self, start_ns: int, times: Times, draws: Draws, due: Callable[[int], bool]) -> None:
        """Send at `start_ns` + each of `times` (seconds, ascending); returns when every answer is in.

        Raises what a sender has failed with. From the first time on for which `due` is no longer true,
        nothing is sent. What was due before is sent and awaited even then, or the slowest answers would be
        those that are missing.
        """
        for intended_ns in handed_out(start_ns, times, due):
            if self.has_failed:
                break
            self.hand((intended_ns, *next(draws)))
        self.finish()

    @property
    def has_failed(self) -> bool:
        """Whether nothing more is to be handed out: `finish` raises why."""
        return self._error is not None

    def finish(self) -> None:
        """Wait until every answer is in. Raises what a sender has failed with."""
        while self._unanswered and self._error is None:
            self._idle.clear()  # it was set whenever all was answered on the way
            self._idle.wait()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        gevent.killall(list(self._senders))

    def hand(self, item: tuple[int, int, int]) -> None:
        """Send this: when it is due, the class and the variant."""
        self._unanswered += 1
        if self._free:
            get_hub().loop.run_callback(self._free.pop()[1].switch, item)
            if self._free and self._free[0][0] < item[0] - _IDLE_NS:
                get_hub().loop.run_callback(self._free.popleft()[1].switch, None)
        elif len(self._senders) < self._most:
            self._senders.add(gevent.spawn(self._send_from, item))
        else:
            self._waiting.append(item)

    def _send_from(self, item: tuple[int, int, int]) -> None:
        """One sender: this request, then what waits for a connection, then whatever it is woken with."""
        connection, payloads = self._connect(), next(self._payloads)
        woken = Waiter()
        try:
            while True:
                self._send(connection, payloads, item)
                if self._waiting:
                    item = self._waiting.popleft()
                else:
                    self._free.append((monotonic_ns(), woken))
                    given: tuple[int, int, int] | None = woken.get()
                    if given is None:
                        return
                    item = given
        except Exception as error:
            self._error = error
            self._idle.set()
        finally:
            self._senders.discard(gevent.getcurrent())
            connection.close()

    def _send(self, connection: Connection, payloads: Payloads, item: tuple[int, int, int]) -> None:
        now = monotonic_ns()
        if now - item[0] > self._timeout_s * 1e9:
            reason = f"not sent within {self._timeout_s:g} s: {self._most} requests awaited their answers"
            self._given_up(item, Reply(Status.TIMEOUT, reason, now, -1, now, 0, 0))
        else:
            self._answer(connection, payloads, item, now)
        self._unanswered -= 1
        if not self._unanswered:
            self._idle.set()

    def _answer(
        self, connection: Connection, payloads: Payloads, item: tuple[int, int, int], now_ns: int
    ) -> None:
        """Send, and record what came of it."""
        intended_ns, request_class, variant = item
        self._record(
            request_class,
            intended_ns,
            call(connection, payloads, request_class, variant, now_ns, self._kept),
        )

    def _given_up(self, item: tuple[int, int, int], reply: Reply) -> None:
        """Record that it wasn't sent."""
        self._record(item[1], item[0], reply)
