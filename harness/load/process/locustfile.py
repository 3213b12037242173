"""The locustfile of harness: `locust -f` this file with HARNESS_LOAD_PLAN set to a load plan.

Under harness's driver it runs the plan's two phases and records every request. Run by a person (headless,
with Locust's web UI, or as master and workers) each Locust user is the plan's load once, until stopped: one
request in flight for a closed loop, one stream of arrivals for an open one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, repeat
from pathlib import Path
from time import monotonic_ns
from typing import Any

import gevent
from locust import events, task

from harness.load.arrivals import Times, draws
from harness.load.endpoint import Endpoint
from harness.load.kept_answers import LARGEST, KeptAnswers, answers_file
from harness.load.load_plan import CHANNEL_VARIABLE, PLAN_VARIABLE, PayloadFile, read_plan, read_times
from harness.load.process import sequences
from harness.load.process.channel import Channel, Pipes
from harness.load.process.conductor import Conductor
from harness.load.process.in_turns import Turn, closed_loop_in_turns, open_loop_in_turns
from harness.load.process.locust_statistics import CountedAtOnce
from harness.load.process.loops import Draws, OpenLoop, Payloads, closed_loop
from harness.load.process.recorder import Recorder
from harness.load.process.sequences import (
    Drawn,
    OpenLoopOfSequences,
    Steps,
    closed_loop_of_sequences,
)
from harness.load.process.spread import closed_loop_spread, open_loop_spread
from harness.load.sequence_records import SequenceRecorder
from harness.load.user import Report, TritonUser
from harness.load.wire import Reply
from harness.load.wire.connection import Connection, Fault
from harness.load.wire.grpc.grpc_channel import LARGEST_SHARED, Channels
from harness.schema.samples import Phase, SequenceEnd
from harness.schema.turns import Turns

plan_path = Path(os.environ.get(PLAN_VARIABLE, ""))
plan = read_plan(plan_path)
slots = PayloadFile.read(plan, plan_path)
payloads = cycle(slots)
names = [each.name for each in plan.classes]
ways = (None, *plan.others)
"""To each arm or replica; the first is where Locust's `--host` is."""
conductor: Conductor | None = None
times: dict[Phase, Times | None] = {}
drawn: dict[Phase, list[Draws]] = {}
"""Those of each arm or replica."""
begun: dict[Phase, list[Iterator[Drawn]]] = {}
"""The sequences of each phase, by replica."""
ended: SequenceRecorder | None = None


def share(worker: int, of: int) -> None:
    """Take every `of`-th arrival, draw and slot, from number `worker` on: all shares are the load."""
    global payloads
    payloads = cycle(slots[worker::of] or slots)
    for phase in Phase:
        due = read_times(plan_path, phase.name.lower())
        times[phase] = None if due is None else due[worker::of]
        drawn[phase] = [draws_of(phase, to, worker, of) for to in range(len(ways))]
        if plan.in_sequences:
            begun[phase] = [begun_of(phase, to, worker, of) for to in range(len(ways))]


def draws_of(phase: Phase, to: int = 0, worker: int = 0, of: int = 1) -> Draws:
    """Classes and variants of one phase, the same ones for each arm, and its share for each replica; the
    users of a process take from it in turn."""
    sizes = [len(each) for each in slots[0]]
    return draws(_weights(to), sizes, plan.seed * len(Phase) + phase, *_share_of(to, worker, of))


def begun_of(phase: Phase, to: int, worker: int, of: int) -> Iterator[Drawn]:
    """The share of a replica of the sequences of one phase."""
    seed = plan.seed * len(Phase) + phase
    return sequences.drawn(plan.classes, seed, *_share_of(to, worker, of), weights=_weights(to))


def _weights(to: int) -> list[float]:
    return [each.weight if each.destination == to else 0.0 for each in plan.classes]


def _share_of(to: int, worker: int, of: int) -> tuple[int, int]:
    """Of which number, of how many, a destination's share of what this process sends is."""
    if plan.turns is not None:
        return worker, of
    return to * of + worker, len(ways) * of


def steps_of(conductor: Conductor, own: Payloads, phase: Phase, to: int) -> Steps:
    """What sends a replica's sequences of a phase; the users of a process take from them in turn."""
    assert ended is not None
    protocol = plan.endpoint.protocol
    keep = ended.record

    def has_ended(kind: int, steps: int, began_ns: int, ended_ns: int, how: SequenceEnd) -> None:
        keep(kind, steps, began_ns, ended_ns, how)
        conductor.sequence_ended(began_ns)

    return Steps.of(own, protocol, begun[phase][to], conductor.record_step, has_ended, conductor.kept)


def conduct(runner: Any, channel: Channel, worker: int = 0, of: int = 1) -> None:
    """Let the driver at the other end of `channel` lead this process, which is number `worker` of `of`."""
    global conductor, ended
    if plan.in_sequences:
        ended = SequenceRecorder(plan_path.parent, worker)
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


def turns_of(phase: Phase) -> Turns | None:
    """How arms follow each other in a phase; None where there is one."""
    seconds = plan.warmup_s if phase is Phase.WARMUP else plan.limit_s
    return None if plan.turns is None else plan.turns.within(seconds)


firsts = cycle(range(len(ways)))
"""At which replica the next user begins."""
taken: dict[int, Turn] = {}
"""By the begin of a phase: all users of this process take their turns together."""


def turn_of(phase: Phase, start_ns: int) -> Turn | None:
    turns = turns_of(phase)
    if turns is not None and start_ns not in taken:
        taken[start_ns] = Turn(turns, start_ns)
    return taken.get(start_ns)


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
    opened: Sequence[Connection] = ()
    """Of a closed loop under harness's driver: one to each arm."""
    channels = Channels() if plan.largest_request <= LARGEST_SHARED else None

    @property
    def endpoint(self) -> Endpoint:
        """The plan's, at Locust's host, which is the plan's unless somebody gives another."""
        if self.address == plan.endpoint.address:
            return plan.endpoint
        return plan.endpoint.model_copy(update={**self.address._asdict(), "at": None})

    def new_connection(self, endpoint: Endpoint | None = None) -> Connection:
        connection = super().new_connection() if endpoint is None else endpoint.open(self.channels)
        connection.keeps = LARGEST
        return connection

    def on_stop(self) -> None:
        super().on_stop()
        for connection in self.opened:
            connection.close()

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
        send = self._closed(conductor) if plan.concurrency is not None else self._open(conductor)
        conductor.arrive()
        for phase in conductor.phases:
            conductor.wait(phase)
            send(phase)
            conductor.leave()
        gevent.sleep(float("inf"))  # until Locust quits

    def _closed(self, conductor: Conductor) -> Callable[[Phase], None]:
        """What a user of a closed loop does in a phase."""
        self.opened = connections = [self.new_connection(each) for each in ways]
        own = next(payloads)
        for connection in connections:
            connection.alone = plan.concurrency == 1
            _connect(connection)
        more, record, kept = conductor.more, conductor.record, conductor.kept
        order = self._order()
        if plan.in_sequences:
            return self._closed_in_sequences(conductor, own)

        def send(phase: Phase) -> None:
            turn = turn_of(phase, conductor.start_ns)
            if turn is not None:
                closed_loop_in_turns(connections, own, drawn[phase], turn, more, record, kept)
            elif len(connections) > 1:
                closed_loop_spread(connections, own, drawn[phase], order, more, record, kept)
            else:
                closed_loop(connections[0], own, drawn[phase][0], more, record, kept)

        return send

    def _order(self) -> Iterator[int]:
        """Of the replicas, for one user after the other from another on."""
        return cycle((*range(first := next(firsts), len(ways)), *range(first)))

    def _closed_in_sequences(self, conductor: Conductor, own: Payloads) -> Callable[[Phase], None]:
        steps = {
            phase: [steps_of(conductor, own, phase, to) for to in range(len(ways))]
            for phase in conductor.phases
        }
        order = self._order()

        def send(phase: Phase) -> None:
            assert ended is not None
            ended.phase = phase
            closed_loop_of_sequences(self.opened, steps[phase], order, conductor.more)

        return send

    def _open_in_sequences(self, conductor: Conductor) -> Callable[[Phase], None]:
        own = next(payloads)
        pools = {
            phase: [
                OpenLoopOfSequences(
                    partial(self.new_connection, way),
                    steps_of(conductor, own, phase, to),
                    plan.endpoint.timeout_s,
                    conductor.goes_on,
                    among=len(ways),
                )
                for to, way in enumerate(ways)
            ]
            for phase in conductor.phases
        }

        def send(phase: Phase) -> None:
            assert ended is not None
            ended.phase = phase
            due = times[phase]
            if due is not None:
                draws = [repeat((0, 0))] * len(ways)
                open_loop_spread(pools[phase], conductor.start_ns, due, draws, conductor.due)

        return send

    def _open(self, conductor: Conductor) -> Callable[[Phase], None]:
        """What the sender of an open loop does in a phase."""
        if plan.in_sequences:
            return self._open_in_sequences(conductor)
        timeout_s, kept = plan.endpoint.timeout_s, conductor.kept
        pools = [
            OpenLoop(
                partial(self.new_connection, each),
                payloads,
                conductor.record,
                timeout_s,
                kept,
                among=len(ways),
            )
            for each in ways
        ]

        def send(phase: Phase) -> None:
            due, turns = times[phase], turns_of(phase)
            if due is not None and turns is None:
                open_loop_spread(pools, conductor.start_ns, due, drawn[phase], conductor.due)
            elif due is not None and turns is not None:
                open_loop_in_turns(pools, turns, conductor.start_ns, due, drawn[phase], conductor.due)

        return send

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


def _connect(connection: Connection) -> None:
    """Before the phase rather than in it; a failure shows in the first request."""
    try:
        connection.connect()
    except (OSError, Fault) as error:
        logging.getLogger(__name__).warning("could not connect beforehand: %s", error)
