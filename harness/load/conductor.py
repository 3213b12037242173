"""The two phases of a measurement inside the load process, in step with the driver.

Warm-up and measurement run in one process, on the same connections. Each phase starts and ends with nothing
in flight, so that differences of Triton's statistics around the measured one agree to the request.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.os
from gevent.event import Event

from harness.load.plan import LoadPlan
from harness.load.recorder import Recorder
from harness.load.wire import Reply
from harness.schema.samples import Phase

_TICK_S = 0.5
_STOP_GRACE_S = 2.0
_LEAD_NS = 20_000_000
"""An open loop's first arrivals are this far ahead, so that none is late because the phase had to begin."""
_FAR_NS = 2**62


class Channel:
    """Lines of JSON to and from the driver, over inherited pipes."""

    def __init__(self, described: str) -> None:
        self._read, self._write = (int(number) for number in described.split(","))
        gevent.os.make_nonblocking(self._read)

    def say(self, event: str, **facts: Any) -> None:
        os.write(self._write, (json.dumps({"event": event} | facts) + "\n").encode())

    def heard(self) -> Iterator[str]:
        """The driver's words, until it is gone."""
        rest = b""
        while got := gevent.os.nb_read(self._read, 4096):
            *lines, rest = (rest + got).split(b"\n")
            yield from (line.decode() for line in lines)


class Conductor:
    """Opens each phase to the users when all are there, and closes it when the last has its answer."""

    def __init__(
        self, plan: LoadPlan, recorder: Recorder, channel: Channel, users: int, quit_: Callable[[], None]
    ) -> None:
        self.phases = (Phase.WARMUP, Phase.MEASURE) if plan.warmup_s > 0 else (Phase.MEASURE,)
        self.start_ns = 0
        """When the phase began; an open loop's times count from it."""
        self._plan, self._recorder, self._channel, self._quit = plan, recorder, channel, quit_
        self._begun = {phase: Event() for phase in self.phases}
        self._users = self._absent = users
        self._gathered = Event()
        self._go = Event()
        self._over = Event()
        self._stopped = False
        self._stop_ns = self._limit_ns = 0
        self._first_ns, self._last_ns = _FAR_NS, 0
        self._phase = self.phases[0]

    # What a user calls.

    def arrive(self) -> None:
        """A user is ready for the first phase."""
        self._absent -= 1
        if not self._absent:
            self._gathered.set()

    def wait(self, phase: Phase) -> None:
        self._begun[phase].wait()

    def more(self) -> bool:
        """Whether a closed loop goes on."""
        now = time.monotonic_ns()
        if now < self._stop_ns:
            return True
        return now < self._limit_ns and self._recorder.succeeded < self._plan.min_requests

    def running(self) -> bool:
        """Whether an open loop goes on."""
        return not self._stopped

    def record(self, request_class: int, intended_ns: int, reply: Reply) -> None:
        self._recorder.record(request_class, intended_ns, reply)
        if intended_ns < self._first_ns:
            self._first_ns = intended_ns
        self._last_ns = reply.completed_ns

    def leave(self) -> None:
        """A user has its last answer of the phase."""
        self._active -= 1
        if not self._active:
            self._over.set()

    # What the process runs.

    def run(self) -> None:
        """Both phases, then the end of the process."""
        gevent.spawn(self._listen)
        try:
            self._gathered.wait()
            self._channel.say("started")
            gevent.spawn(self._tick)
            if Phase.WARMUP in self.phases and not self._stopped:
                self._run(Phase.WARMUP, self._plan.warmup_s, self._plan.warmup_s)
            self._channel.say("idle")
            self._go.wait()
            if not self._stopped:
                self._measure()
        except Exception as error:
            self._channel.say("failed", reason=f"{type(error).__name__}: {error}")
            raise
        finally:
            self._recorder.close()
            self._quit()

    def _measure(self) -> None:
        cpu_s = time.process_time()
        self._run(Phase.MEASURE, self._plan.duration_s, self._plan.at_most_s)
        cpu_s = time.process_time() - cpu_s
        self._channel.say(
            "done",
            window=[self._first_ns, self._last_ns] if self._last_ns else None,
            cpu_s=cpu_s,
            max_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            requests=self._recorder.succeeded + self._recorder.failed,
        )

    def _run(self, phase: Phase, seconds: float, at_most_s: float) -> None:
        self._phase = phase
        self._recorder.begin(phase)
        self._first_ns, self._last_ns = _FAR_NS, 0
        self._active = self._users
        self._over.clear()
        self.start_ns = time.monotonic_ns() + (0 if self._plan.concurrency else _LEAD_NS)
        self._stop_ns = self.start_ns + int(seconds * 1e9)
        self._limit_ns = self.start_ns + int(at_most_s * 1e9)
        self._begun[phase].set()
        self._over.wait()
        self._recorder.flush()

    def _listen(self) -> None:
        for word in self._channel.heard():
            if word == "go":
                self._go.set()
            elif word == "stop":
                self._stop()
        self._stop()  # the driver is gone

    def _stop(self) -> None:
        """Send no more. Answers that don't come at once are not waited for."""
        self._stopped = True
        self._stop_ns = self._limit_ns = 0
        self._recorder.flush()
        self._go.set()
        gevent.spawn_later(_STOP_GRACE_S, self._over.set)

    def _tick(self) -> None:
        while True:
            gevent.sleep(_TICK_S)
            self._recorder.flush()
            self._channel.say(
                "progress",
                phase=self._phase.name.lower(),
                succeeded=self._recorder.succeeded,
                failed=self._recorder.failed,
                elapsed_s=(time.monotonic_ns() - self.start_ns) / 1e9,
            )
