"""The phases of a measurement inside a load process, in step with the driver.

Warm-up and measurement run in one process, on the same connections. Each phase starts and ends with nothing
in flight, so that differences of Triton's statistics around the measured one agree to the request.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from gevent.queue import Queue

from harness.load.kept_answers import KeptAnswers
from harness.load.load_plan import LoadPlan
from harness.load.process.channel import Channel
from harness.load.process.loops import Record
from harness.load.process.mark import Mark
from harness.load.process.recorder import Recorder
from harness.load.wire import Reply
from harness.schema.samples import Phase

_TICK_S = 0.5
_STOP_GRACE_S = 2.0
_HEAD_START_S = 0.01
"""An open loop is let go this long before the phase's time, and then waits for its first send."""
_AT_ONCE = 8
"""Replies that are recorded one after the other, because the processor then has the code at hand: it saved a
client at concurrency 8 some 7 to 11% of its CPU. It is done when every answer that has come is followed by
its user's next request, so that the server has something to do meanwhile."""
_AT_MOST = 16
"""Where the event loop has no turn: a lone user waits in the kernel."""


class Conductor:
    """Opens each phase to the users when the driver says so, and closes it when the last has its answer."""

    def __init__(
        self,
        plan: LoadPlan,
        recorder: Recorder,
        tell: Record,
        channel: Channel,
        quit_: Callable[[], None],
        kept: KeptAnswers | None = None,
    ) -> None:
        """Every reply is recorded, and told to `tell`; some answers are `kept`."""
        self.kept = kept or KeptAnswers(None)
        self.phases = (Phase.WARMUP, Phase.MEASURE) if plan.warmup_s > 0 else (Phase.MEASURE,)
        self.start_ns = 0
        """When the phase began; an open loop's times count from it."""
        self._recorder, self._tell, self._channel, self._quit = recorder, tell, channel, quit_
        self._replies: list[tuple[int, int, Reply]] = []
        """Not yet recorded."""
        self._many = Event()
        """So many that they are to be."""
        open_loop = plan.concurrency is None
        self._in_sequences = plan.in_sequences
        self._sequences = 0
        """Of this phase, that have ended."""
        self._head_start_s = _HEAD_START_S if open_loop else 0.0
        self._begun = {phase: Event() for phase in self.phases}
        self._orders: Queue = Queue()
        self._arrived = self._users = self._active = 0
        self._somebody_came = Event()
        self._over = Event()
        self._closed = False
        """Who comes from now on is too late: the load is shared out."""
        self._mark = Mark(self._recorded, self._settled, open_loop=open_loop)
        self._stop_ns = self._next_ns = 0
        """What ends the phase, and that or the mark, whichever comes first."""
        self._phase: Phase | None = None
        self._has_failed = False

    # What a user calls.

    def arrive(self) -> None:
        """A user is ready for the first phase. One that comes after its begin is kept waiting for ever."""
        if self._closed:
            gevent.sleep(float("inf"))
        self._arrived += 1
        self._somebody_came.set()

    def wait(self, phase: Phase) -> None:
        self._begun[phase].wait()

    def more(self) -> bool:
        """Whether a closed loop goes on."""
        now_ns = time.monotonic_ns()
        return now_ns < self._next_ns or self._goes_on(now_ns)

    def due(self, intended_ns: int) -> bool:
        """Whether an open loop goes on with what is due at `intended_ns`."""
        if intended_ns >= self._next_ns and not self._goes_on(intended_ns):
            return False
        mark = self._mark
        mark.handed_out += 1
        mark.handed_ns = intended_ns
        return True

    def record(self, request_class: int, intended_ns: int, reply: Reply) -> None:
        """A request that isn't part of a sequence has ended."""
        if intended_ns < self._mark.before_ns:
            self._mark.record()
        self.record_step(request_class, intended_ns, reply)

    def record_step(self, request_class: int, intended_ns: int, reply: Reply) -> None:
        """A step of a sequence has ended; the load hands out, and a mark awaits, whole sequences."""
        replies = self._replies
        replies.append((request_class, intended_ns, reply))
        if len(replies) == _AT_ONCE:
            self._many.set()
        elif len(replies) >= _AT_MOST:
            self._settle()

    def goes_on(self, due_ns: int) -> bool:
        """Whether a sequence of an open loop goes on with a step that is due then."""
        return due_ns < self._stop_ns

    def sequence_ended(self, intended_ns: int) -> None:
        """One that should have begun then has, and all its steps are recorded."""
        self._sequences += 1
        if intended_ns < self._mark.before_ns:
            self._mark.record()

    def leave(self) -> None:
        """A user has its last answer of the phase."""
        self._active -= 1
        self._mark.leave()
        if not self._active:
            self._over.set()

    def failed(self, error: Exception) -> None:
        """A user can't go on, which ends the drive."""
        if not self._has_failed:
            self._has_failed = True
            traceback.print_exception(error)
            self._channel.say("failed", reason=f"{type(error).__name__}: {error}")

    # What the process runs.

    def run(self) -> None:
        """The phases that the driver asks for, then the end of the process."""
        for service in (self._tell_arrivals, self._tick, self._keep_books):
            gevent.spawn(self._serve, service)
        try:
            self._serve(self._obey)
        finally:
            try:
                self._settle()
                self._recorder.close()
                self.kept.write()
            finally:  # whatever can't be written
                self._quit()

    def _obey(self) -> None:
        self._channel.say("here", host=socket.gethostname(), pid=os.getpid())
        self._channel.listen(self._told)
        while (order := self._orders.get()) is not None:
            self._run(Phase[order["phase"]], order["at_ns"], order["seconds"])

    def _told(self, order: dict[str, Any]) -> None:
        """A word of the driver: `begin` a phase, `mark` a time, `enough` at a time, `stop` at once, or `end`
        the process."""
        match order["do"]:
            case "begin":
                self._orders.put(order)
            case "mark":
                self._mark.set(order["at_ns"], self._active)
                self._next_ns = min(self._stop_ns, self._mark.at_ns)
            case "enough":
                self._stop_at(min(self._stop_ns, order["at_ns"]))
            case "stop":
                self._stop()
            case "end":
                self._stop_at(0)
                self._over.set()
                self._orders.put(None)

    def _run(self, phase: Phase, at_ns: int, seconds: float) -> None:
        self._closed = True
        self._recorder.begin(phase)
        self._users = self._active = self._arrived
        self._sequences = 0
        self._over.clear()
        self.start_ns = at_ns
        self._mark.begin()
        self._stop_at(at_ns + int(seconds * 1e9))
        self._phase = phase
        cpu_s = time.process_time()
        gevent.sleep(max(0.0, (at_ns - time.monotonic_ns()) / 1e9 - self._head_start_s))
        self._begun[phase].set()
        if self._users:
            self._over.wait()
        cpu_s = time.process_time() - cpu_s
        self._phase = None
        self._say_over(phase.name, cpu_s)

    def _say_over(self, phase: str | None, cpu_s: float | None) -> None:
        recorder = self._recorder
        self._flush()
        self._channel.say(
            "over",
            phase=phase,
            window=[recorder.first_ns, recorder.last_ns] if phase and recorder.last_ns else None,
            cpu_s=cpu_s,
            requests=recorder.count,
            resent=recorder.resent,
            spool_bytes=recorder.spool_bytes,
            text_bytes=recorder.text_bytes,
        )

    def _stop(self) -> None:
        """Send no more. Answers that don't come at once are not waited for."""
        self._stop_at(0)
        if self._phase is None:
            self._say_over(None, None)
        else:
            self._flush()
            gevent.spawn_later(_STOP_GRACE_S, self._over.set)

    def _goes_on(self, at_ns: int) -> bool:
        """Whether what is due then, past the mark or the stop, is sent."""
        if at_ns >= self._mark.at_ns:
            self._mark.passed(self._active)
            self._next_ns = min(self._stop_ns, self._mark.at_ns)
        return at_ns < self._stop_ns

    def _recorded(self) -> int:
        """Of what this phase has handed out."""
        if self._in_sequences:
            return self._sequences
        return self._recorder.count + len(self._replies)

    def _settled(self) -> None:
        self._next_ns = self._stop_ns
        gevent.spawn(self._serve, self._say_settled)

    def _say_settled(self) -> None:
        self._flush()
        self._channel.say(
            "settled", spool_bytes=self._recorder.spool_bytes, text_bytes=self._recorder.text_bytes
        )

    def _stop_at(self, at_ns: int) -> None:
        self._stop_ns = at_ns
        self._next_ns = min(at_ns, self._mark.at_ns)

    def _flush(self) -> None:
        self._settle()
        self._recorder.flush()

    def _settle(self) -> None:
        """Record what has ended so far."""
        replies, self._replies = self._replies, []
        for reply in replies:
            self._recorder.record(*reply)
            self._tell(*reply)

    def _serve(self, service: Callable[[], None]) -> None:
        """Until this process ends. One that fails, as on a full disk, ends the drive with its reason."""
        try:
            service()
        except Exception as error:
            self.failed(error)
            raise

    def _keep_books(self) -> None:
        while True:
            self._many.wait()
            self._many.clear()
            self._settle()

    def _tell_arrivals(self) -> None:
        while True:
            self._somebody_came.wait()
            self._somebody_came.clear()
            self._channel.say("ready", users=self._arrived)

    def _tick(self) -> None:
        """A sign of life; and what was recorded outlives this process."""
        while True:
            gevent.sleep(_TICK_S)
            self._flush()
            self._channel.say(
                "progress",
                phase=None if self._phase is None else self._phase.name,
                succeeded=self._recorder.succeeded,
                failed=self._recorder.failed,
                elapsed_s=(time.monotonic_ns() - self.start_ns) / 1e9,
            )
