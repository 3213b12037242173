"""`python -m harness.load.distributed.master`: Locust's master, between the driver and the load processes.

Locust starts the users and gathers its statistics as ever. Every word of harness's own passes through here
unchanged, marked with the number of the load process. What one on another machine records is appended to
the files in the driver's folder that it would have written itself, had it been here.

Whoever reaches the address where load processes of other machines come in may be anybody. What is no message
is dropped and counted; a load process that sends what none sends is lost to the run, with the reason.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic_ns
from typing import Any

import gevent
from gevent.event import AsyncResult, Event
from locust.dispatch import UsersDispatcher
from locust.env import Environment

from harness.analysis.clocks import Reading, Round
from harness.load.distributed.front_door import FrontDoor
from harness.load.distributed.messages import CHUNK, TYPE, UNDERWAY, Malformed, differing, said, versions
from harness.load.distributed.runners import GuardedMaster, master_of
from harness.load.distributed.secret import shared_secret
from harness.load.distributed.spool_keeper import SpoolKeeper
from harness.load.load_plan import CHANNEL_VARIABLE, PLAN_VARIABLE, plan_files, read_plan
from harness.load.process.channel import Order, Pipes

_ROUNDS = 9
_ROUND_S = 5.0
_TELL_S = 0.5
_GIVEN_UP = -1


class SharedOutOnce(UsersDispatcher):  # type: ignore[misc]  # locust is untyped
    """Locust would give the users of a worker that is gone to the others. The load is shared out once."""

    def add_worker(self, worker_node: Any) -> None:
        """A worker that comes late gets no users."""

    def remove_worker(self, worker_node: Any) -> None:
        """A worker that is gone leaves its users to nobody."""


class Node:
    """A load process, as the master sees it."""

    def __init__(self, node_id: str, token: str) -> None:
        self.id, self.token = node_id, token
        self.received = 0
        """Bytes of files that it has by its own account."""
        self.moved = Event()
        self.pong: AsyncResult = AsyncResult()
        self.pinged_ns = -1
        self.keeper: SpoolKeeper | None = None


class Relay:
    """Between `of` workers of Locust's `runner` and the driver. `remote`: they are on other machines."""

    def __init__(self, runner: GuardedMaster, pipes: Pipes, plan: Path, of: int, remote: bool) -> None:
        self._runner, self._pipes, self._plan, self._of, self._remote = runner, pipes, plan, of, remote
        self._nodes: dict[int, Node] = {}
        self._numbers: dict[str, int] = {}
        self._dropped = 0
        self.over = Event()
        runner.register_message(TYPE, self._heard)
        pipes.listen(self._told)
        gevent.spawn(self._tell_dropped)

    def _tell_dropped(self) -> None:
        """How much came that was no message, or of somebody without the secret; again when it is tenfold."""
        told = (0, 0)
        while True:
            server = self._runner.server
            now = (self._dropped + self._runner.dropped + server.dropped, server.unproven)
            if any(count >= max(1, 10 * before) for count, before in zip(now, told, strict=True)):
                told = now
                self._pipes.say("dropped", worker=None, messages=now[0], unproven=now[1])
            gevent.sleep(_TELL_S)

    # From the driver.

    def _told(self, order: Order) -> None:
        to = order.pop("worker", None)
        match order["do"]:
            case "spawn":
                self._forget_others()
                gevent.spawn(self._runner.start, order["users"], order["users"])
            case "clocks":
                for worker in self._nodes:
                    gevent.spawn(self._read_clock, worker)
            case "end":
                self._send(order)
                self._forget_others()  # Locust will tell all that it knows to quit, and these wait on
                self.over.set()
            case _:
                self._send(order, to)

    def _forget_others(self) -> None:
        """Workers that came too late to be one of them get no users."""
        for node_id in set(self._runner.clients) - set(self._numbers):
            del self._runner.clients[node_id]

    def _send(self, order: Order, worker: int | None = None) -> None:
        for number, node in self._nodes.items():
            if worker in (None, number):
                self._runner.send_message(TYPE, order, node.id)

    # From the load processes.

    def _heard(self, msg: Any, **_: Any) -> None:
        worker = self._numbers.get(msg.node_id)
        if worker == _GIVEN_UP:
            return
        try:
            self._take(msg.node_id, worker, said(msg.data))
        except Malformed as malformed:
            if worker is None:
                self._dropped += 1
            else:
                self._give_up(worker, f"sent what no load process sends: {malformed}")

    def _give_up(self, worker: int, how: str) -> None:
        """Hear no more of it, and let the driver know."""
        self._pipes.say("lost", worker=worker, how=how)
        self._numbers[self._nodes[worker].id] = _GIVEN_UP

    def _take(self, node_id: str, worker: int | None, facts: dict[str, Any]) -> None:
        match facts["event"]:
            case "hello":
                self._welcome(node_id, facts)
            case "lost":
                for number, node in self._nodes.items():
                    if node.token == facts["token"]:
                        self._pipes.say("lost", worker=number, how=facts["how"])
                self._runner.send_message(TYPE, {"do": "heard"}, node_id)
            case _ if worker is None:
                return
            case "pong":
                if facts["sent_ns"] == self._nodes[worker].pinged_ns:
                    self._nodes[worker].pong.set((facts["sent_ns"], facts["at_ns"], monotonic_ns()))
            case "received":
                self._nodes[worker].received = facts["bytes"]
                self._nodes[worker].moved.set()
                self._pipes.say("receiving", worker=worker)
            case "recorded":
                self._keep(worker, facts)
            case "here":
                self._pipes.say(**facts, worker=worker)
                if self._remote:
                    gevent.spawn(self._read_clock, worker)
            case _:
                self._pipes.say(**facts, worker=worker)

    def _welcome(self, node_id: str, facts: dict[str, Any]) -> None:
        if node_id in self._numbers:
            return
        if (why := differing(versions(), facts["versions"])) is not None:
            self._runner.send_message(TYPE, {"do": "refuse", "why": why}, node_id)
            self._pipes.say("refused", worker=None, host=facts["host"], why=why)
            return
        wanted = facts["wants"]
        free = [
            number for number in range(self._of) if number not in self._nodes and wanted in (None, number)
        ]
        if not free:
            self._runner.send_message(TYPE, {"do": "wait"}, node_id)
            return
        self._runner.admit(node_id)
        worker = self._numbers[node_id] = free[0]
        self._nodes[worker] = Node(node_id, facts["token"])
        self._pipes.say("came", worker=worker, host=facts["host"], pid=facts["pid"])
        gevent.spawn(self._bring, worker)

    def _bring(self, worker: int) -> None:
        """Hand over the files of the plan to another machine, then the number."""
        node = self._nodes[worker]
        sent = 0
        for path in plan_files(self._plan) if self._remote else ():
            size = path.stat().st_size
            with path.open("rb") as file:
                for at in range(0, max(size, 1), CHUNK):
                    data = file.read(CHUNK)
                    order = {"do": "file", "name": path.name, "at": at, "data": data}
                    self._runner.send_message(TYPE, order, node.id)
                    sent += len(data)
                    while node.received < sent - UNDERWAY:
                        node.moved.clear()
                        node.moved.wait()
        self._runner.send_message(TYPE, {"do": "go", "worker": worker, "of": self._of}, node.id)

    def _keep(self, worker: int, facts: dict[str, Any]) -> None:
        node = self._nodes[worker]
        if not self._remote:
            raise Malformed("recorded: it writes its records here itself")
        if node.keeper is None:
            node.keeper = SpoolKeeper(self._plan.parent, worker, len(read_plan(self._plan).classes))
        try:
            kept = node.keeper.keep(facts["kind"], facts["at"], facts["data"])
        except OSError as error:
            self._give_up(worker, f"has recorded what can't be kept here: {error.strerror or error}")
            return
        self._runner.send_message(TYPE, {"do": "kept", "bytes": kept}, node.id)

    def _read_clock(self, worker: int) -> None:
        node = self._nodes[worker]
        rounds: list[Round] = []
        while len(rounds) < _ROUNDS:
            node.pong = AsyncResult()
            node.pinged_ns = monotonic_ns()
            self._runner.send_message(TYPE, {"do": "ping", "sent_ns": node.pinged_ns}, node.id)
            with suppress(gevent.Timeout):  # a message is lost where a connection is
                rounds.append(node.pong.get(timeout=_ROUND_S))
        reading = Reading.of(rounds)
        at = [reading.at_ns, reading.offset_ns, reading.error_ns]
        self._pipes.say("clock", worker=worker, reading=at)


def main() -> None:
    """Arguments: the Unix socket to listen on, the number of load processes; host and port for others' to
    come in, where they do."""
    inside, of, *where = sys.argv[1:]
    pipes = Pipes(os.environ.pop(CHANNEL_VARIABLE))
    from harness.load.process.locustfile import PlannedUser  # reads the plan

    environment = Environment(user_classes=[PlannedUser], dispatcher_class=SharedOutOnce)
    runner = master_of(environment, inside, shared_secret() if where else None)
    relay = Relay(runner, pipes, Path(os.environ[PLAN_VARIABLE]), int(of), bool(where))
    if where:
        host, port = where
        FrontDoor(host, int(port), inside, int(of))
    relay.over.wait()
    runner.quit()


if __name__ == "__main__":
    main()
