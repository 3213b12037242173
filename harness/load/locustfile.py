"""The locustfile of harness: `locust -f` this file with HARNESS_LOAD_PLAN set to a load plan.

Under harness's driver it runs the plan's two phases and records every request. Run by a person (headless,
with Locust's web UI, or as master and workers) each Locust user is the plan's load once, until stopped: one
request in flight for a closed loop, one stream of arrivals for an open one.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
from pathlib import Path
from time import monotonic_ns
from typing import Any

import gevent
from locust import events, task

from harness.load.arrivals import draws
from harness.load.conductor import Channel, Conductor
from harness.load.loops import OpenLoop, closed_loop
from harness.load.plan import CHANNEL_VARIABLE, PLAN_VARIABLE, PayloadFile, read_plan, read_times
from harness.load.recorder import Recorder
from harness.load.user import TritonUser
from harness.load.wire import Reply
from harness.load.wire.connection import Fault
from harness.schema.samples import Phase

_PR_SET_PDEATHSIG = 1

plan_path = Path(os.environ.get(PLAN_VARIABLE, ""))
plan = read_plan(plan_path)
payloads = PayloadFile.read(plan, plan_path)
names = [each.name for each in plan.classes]
times = {phase: read_times(plan_path, phase.name.lower()) for phase in Phase}
conductor: Conductor | None = None


def drawn(phase: Phase) -> Any:
    """Classes and variants of one phase; its users take from it in turn."""
    seed = plan.seed * len(Phase) + phase
    return draws([each.weight for each in plan.classes], [len(each) for each in payloads], seed)


drawn_for = {phase: drawn(phase) for phase in Phase}

if CHANNEL_VARIABLE in os.environ:
    # The load must not outlive the harness that asked for it, however that ended.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    @events.init.add_listener  # type: ignore[untyped-decorator]
    def _conduct(runner: Any, **_: Any) -> None:
        global conductor
        channel = Channel(os.environ[CHANNEL_VARIABLE])
        recorder = Recorder(plan_path.parent, worker=0)
        conductor = Conductor(plan, recorder, channel, plan.concurrency or 1, runner.quit)
        gevent.spawn(conductor.run)


class PlannedUser(TritonUser):
    """Sends what the plan says."""

    host = f"{plan.host}:{plan.port}"
    protocol = plan.protocol
    timeout_s = plan.timeout_s

    @task  # type: ignore[untyped-decorator]
    def load(self) -> None:
        if conductor is None:
            self._until_stopped()
        else:
            self._in_phases(conductor)

    def _in_phases(self, conductor: Conductor) -> None:
        def record(request_class: int, intended_ns: int, reply: Reply) -> None:
            conductor.record(request_class, intended_ns, reply)
            self.report(names[request_class], intended_ns, reply)

        pool = OpenLoop(self.new_connection, payloads, record, plan.timeout_s)
        if plan.concurrency is not None:
            self._connect()
        conductor.arrive()
        for phase in conductor.phases:
            conductor.wait(phase)
            if plan.concurrency is not None:
                closed_loop(self.connection, payloads, drawn_for[phase], conductor.more, record)
            else:
                due = times[phase]
                if due is not None:
                    pool.run(conductor.start_ns, due, drawn_for[phase], conductor.running)
            conductor.leave()
        gevent.sleep(float("inf"))  # until Locust quits

    def _until_stopped(self) -> None:
        def record(request_class: int, intended_ns: int, reply: Reply) -> None:
            self.report(names[request_class], intended_ns, reply)

        def more() -> bool:
            return bool(self._state == "running")

        own = drawn(Phase.MEASURE)
        due = times[Phase.MEASURE]
        if due is None:
            closed_loop(self.connection, payloads, own, more, record)
            return
        pool = OpenLoop(self.new_connection, payloads, record, plan.timeout_s)
        try:
            start_ns = monotonic_ns()
            while more():
                pool.run(start_ns, due, own, more)
                start_ns = max(start_ns + int(plan.duration_s * 1e9), monotonic_ns())
        finally:
            pool.close()

    def _connect(self) -> None:
        """Before the phase rather than in it; a failure shows in the first request."""
        try:
            self.connection.connect()
        except (OSError, Fault) as error:
            logging.getLogger(__name__).warning("could not connect beforehand: %s", error)
