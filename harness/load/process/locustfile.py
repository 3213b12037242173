"""The locustfile of harness: `locust -f` this file with HARNESS_LOAD_PLAN set to a load plan.

Under harness's driver it runs the plan's two phases and records every request. Run by a person (headless,
with Locust's web UI, or as master and workers) each Locust user is the plan's load once, until stopped: one
request in flight for a closed loop, one stream of arrivals for an open one.
"""

from __future__ import annotations

import logging
import os
from itertools import cycle
from pathlib import Path
from time import monotonic_ns
from typing import Any

import gevent
from locust import events, task

from harness.load.arrivals import Times, draws
from harness.load.kept_answers import LARGEST, KeptAnswers, answers_file
from harness.load.plan import CHANNEL_VARIABLE, PLAN_VARIABLE, PayloadFile, read_plan, read_times
from harness.load.process.channel import Channel, Pipes
from harness.load.process.conductor import Conductor
from harness.load.process.locust_statistics import CountedAtOnce
from harness.load.process.loops import Draws, OpenLoop, closed_loop
from harness.load.process.recorder import Recorder
from harness.load.user import Report, TritonUser
from harness.load.wire import Reply
from harness.load.wire.connection import Connection, Fault
from harness.load.wire.grpc.grpc_channel import LARGEST_SHARED, Channels
from harness.schema.samples import Phase

plan_path = Path(os.environ.get(PLAN_VARIABLE, ""))
plan = read_plan(plan_path)
slots = PayloadFile.read(plan, plan_path)
payloads = cycle(slots)
names = [each.name for each in plan.classes]
conductor: Conductor | None = None
times: dict[Phase, Times | None] = {}
drawn: dict[Phase, Draws] = {}


def share(worker: int, of: int) -> None:
    """Take every `of`-th arrival, draw and slot, from number `worker` on: all shares are the load."""
    global payloads
    payloads = cycle(slots[worker::of] or slots)
    for phase in Phase:
        due = read_times(plan_path, phase.name.lower())
        times[phase] = None if due is None else due[worker::of]
        drawn[phase] = draws_of(phase, worker, of)


def draws_of(phase: Phase, worker: int = 0, of: int = 1) -> Draws:
    """Classes and variants of one phase; the users of a process take from it in turn."""
    seed = plan.seed * len(Phase) + phase
    return draws([each.weight for each in plan.classes], [len(each) for each in slots[0]], seed, worker, of)


def conduct(runner: Any, channel: Channel, worker: int = 0, of: int = 1) -> None:
    """Let the driver at the other end of `channel` lead this process, which is number `worker` of `of`."""
    global conductor
    share(worker, of)
    counted = CountedAtOnce(runner.stats)
    report = Report(runner.environment, plan.endpoint.protocol)

    def tell(request_class: int, intended_ns: int, reply: Reply) -> None:
        report(names[request_class], intended_ns, reply)

    def quit_() -> None:
        counted.count()
        runner.quit()

    kept = KeptAnswers(answers_file(plan_path.parent, worker) if plan.keep_answers else None)
    conductor = Conductor(plan, Recorder(plan_path.parent, worker), tell, channel, quit_, kept)
    gevent.spawn(conductor.run)


share(worker=0, of=1)
if CHANNEL_VARIABLE in os.environ:

    @events.init.add_listener  # type: ignore[untyped-decorator]
    def _conduct(runner: Any, **_: Any) -> None:
        conduct(runner, Pipes(os.environ[CHANNEL_VARIABLE]))


class PlannedUser(TritonUser):
    """Sends what the plan says."""

    host = str(plan.endpoint.address)
    protocol = plan.endpoint.protocol
    tls = plan.endpoint.tls
    timeout_s = plan.endpoint.timeout_s
    channels = Channels() if plan.largest_request <= LARGEST_SHARED else None

    def new_connection(self) -> Connection:
        connection = super().new_connection()
        connection.keeps = LARGEST
        return connection

    @task  # type: ignore[untyped-decorator]
    def load(self) -> None:
        if conductor is None:
            self._until_stopped()
        else:
            try:
                self._in_phases(conductor)
            except Exception as error:  # Locust would log it and run the task again, as fast as it can
                conductor.failed(error)
                gevent.sleep(float("inf"))

    def _in_phases(self, conductor: Conductor) -> None:
        kept = conductor.kept
        pool = OpenLoop(self.new_connection, payloads, conductor.record, plan.endpoint.timeout_s, kept)
        if plan.concurrency is not None:
            own = next(payloads)
            self.connection.alone = plan.concurrency == 1
            self._connect()
        conductor.arrive()
        for phase in conductor.phases:
            conductor.wait(phase)
            if plan.concurrency is not None:
                closed_loop(self.connection, own, drawn[phase], conductor.more, conductor.record, kept)
            else:
                due = times[phase]
                if due is not None:
                    pool.run(conductor.start_ns, due, drawn[phase], conductor.due)
            conductor.leave()
        gevent.sleep(float("inf"))  # until Locust quits

    def _until_stopped(self) -> None:
        def record(request_class: int, intended_ns: int, reply: Reply) -> None:
            self.report(names[request_class], intended_ns, reply)

        def more() -> bool:
            return bool(self._state == "running")

        own = draws_of(Phase.MEASURE)
        due = times[Phase.MEASURE]
        if due is None:
            closed_loop(self.connection, next(payloads), own, more, record, KeptAnswers(None))
            return
        pool = OpenLoop(self.new_connection, payloads, record, plan.endpoint.timeout_s)
        try:
            start_ns = monotonic_ns()
            while more():
                pool.run(start_ns, due, own, lambda _: more())
                start_ns += int(plan.limit_s * 1e9)
        finally:
            pool.close()

    def _connect(self) -> None:
        """Before the phase rather than in it; a failure shows in the first request."""
        try:
            self.connection.connect()
        except (OSError, Fault) as error:
            logging.getLogger(__name__).warning("could not connect beforehand: %s", error)
