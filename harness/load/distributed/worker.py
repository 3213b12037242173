"""`python -m harness.load.distributed.worker`: a worker of Locust that is one of several load processes.

On the machine of the driver it reads the plan where the driver wrote it. On another it is handed the plan's
files through Locust's master, writes them into its own working folder, records into that folder, and sends
home what it has recorded as it goes.

Whoever leads the run can have it send load, and nothing else: it writes the plan's files and its records,
into its own working folder, and ends at a word that no run sends.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from gevent.queue import Empty, Queue
from locust.env import Environment
from locust.rpc import Message

from harness.load.distributed.messages import CHUNK, TYPE, UNDERWAY, Malformed, told, versions
from harness.load.distributed.runners import Client, worker_of
from harness.load.distributed.secret import shared_secret
from harness.load.load_plan import CHANNEL_VARIABLE, PLAN_VARIABLE, TOKEN_VARIABLE, accept_file
from harness.load.process.channel import Order, Pipes
from harness.load.spools import SPOOL_KINDS, spool_file
from harness.schema.errors import HarnessError

_HELLO_S = 1.0
_WAIT_S = 0.5
"""Until a worker asks again for a place in the next point, which begins the sooner."""
_MASTER_SILENT_S = 15.0
_COURIER_S = 0.5
_LAST_WORDS_S = 5.0
_ORDERS = 64
"""That wait to be followed: more than there are."""


class ViaMaster:
    """A `Channel` to the driver, with Locust's master in between."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._orders: Queue = Queue(_ORDERS)
        self._told: Callable[[Order], None] = self._orders.put
        self.kept = 0
        """Bytes that have arrived at home, by its account."""
        self.moved = Event()
        self.master_at = time.monotonic()
        self.missed = False
        """Whether the master was gone before the end."""
        runner.environment.events.heartbeat_received.add_listener(self._alive)
        runner.register_message(TYPE, self._heard)

    def say(self, event: str, **facts: Any) -> None:
        self._runner.send_message(TYPE, {"event": event} | facts)

    def listen(self, told: Callable[[Order], None]) -> None:
        self._told = told
        gevent.spawn(self._miss_master)

    def next_order(self, wait_s: float | None = None) -> Order | None:
        """Before anybody listens; None where none comes in time."""
        try:
            order: Order = self._orders.get(timeout=wait_s)
        except Empty:
            return None
        return order

    def _heard(self, msg: Any, **_: Any) -> None:
        try:
            order = told(msg.data)
        except Malformed as malformed:
            raise SystemExit(f"the run sent what no run sends: {malformed}") from None
        match order["do"]:
            case "ping":
                self.say("pong", sent_ns=order["sent_ns"], at_ns=time.monotonic_ns())
            case "kept":
                self.kept = order["bytes"]
                self.moved.set()
            case _:
                self._told(order)

    def _alive(self, **_: Any) -> None:
        self.master_at = time.monotonic()

    def _miss_master(self) -> None:
        """Locust's own patience with its master is a minute, and the load must not outlive the run."""
        while time.monotonic() < self.master_at + _MASTER_SILENT_S:
            gevent.sleep(1.0)
        self.missed = True
        self._told({"do": "stop"})
        self._told({"do": "end"})


def join(runner: Any, channel: ViaMaster, token: str, wants: int | None, tell: Callable[..., None]) -> Order:
    """Take what the master hands over, up to its `go`. Ends the process where it refuses us."""
    received = 0
    known = False
    wait_s = _HELLO_S
    while True:
        if not runner.greenlet:  # Locust's master, at its end, has told it to quit
            raise SystemExit(0)
        if not known:
            facts = {"host": socket.gethostname(), "pid": os.getpid(), "versions": versions()}
            channel.say("hello", token=token, wants=wants, **facts)
        order = channel.next_order(None if known else wait_s)
        match order and order["do"]:
            case "file":
                known = True
                assert order is not None
                try:
                    received += accept_file(Path.cwd(), order["name"], order["at"], order["data"])
                except (ValueError, OSError) as error:
                    raise SystemExit(f"the run's plan can't be taken: {error}") from None
                channel.say("received", bytes=received)
            case "go":
                assert order is not None
                return order
            case "wait":
                tell("waiting")
                gevent.sleep(_WAIT_S)
            case "refuse":
                assert order is not None
                tell("refused", why=order["why"])
                raise SystemExit(2)
            case "end":
                raise SystemExit(0)


def send_home(channel: ViaMaster, folder: Path, worker: int) -> None:
    """Send what is recorded as it grows, at most `UNDERWAY` bytes ahead of what has arrived."""
    sent = dict.fromkeys(SPOOL_KINDS, 0)
    while True:
        # The records' size first: the texts that they name are then there, and go before them.
        sizes = {kind: spool_file(folder, worker, kind).stat().st_size for kind in reversed(SPOOL_KINDS)}
        for kind in SPOOL_KINDS:
            with spool_file(folder, worker, kind).open("rb") as file:
                while sent[kind] < sizes[kind]:
                    file.seek(sent[kind])
                    data = file.read(min(CHUNK, sizes[kind] - sent[kind]))
                    channel.say("recorded", kind=kind, at=sent[kind], data=data)
                    sent[kind] += len(data)
                    while channel.kept < sum(sent.values()) - UNDERWAY:
                        channel.moved.clear()
                        channel.moved.wait()
        gevent.sleep(_COURIER_S)


def last_words(address: str, token: str, how: str) -> None:
    """Tell the master how a load process ended that can't do so itself."""
    own = f"last-words-of-{token}"
    client = Client(address, own, shared_secret())
    client.send(Message(TYPE, {"event": "lost", "token": token, "how": how}, own))
    with gevent.Timeout(_LAST_WORDS_S, False):
        client.recv()


def main() -> None:
    """Arguments: the master's address as ZeroMQ has it, and this one's number, `any`, or `lost` and how."""
    address, number, *how = sys.argv[1:]
    token = os.environ.pop(TOKEN_VARIABLE)
    if number == "lost":
        last_words(address, token, *how)
        return
    described = os.environ.pop(CHANNEL_VARIABLE, None)
    tell = Pipes(described).say if described else lambda *_, **__: None
    try:
        work(address, token, None if number == "any" else int(number), tell)
    except HarnessError as error:  # of a plan that is none
        raise SystemExit(str(error)) from None


def work(address: str, token: str, wants: int | None, tell: Callable[..., None]) -> None:
    """Be a worker of the master at `address`, as number `wants` or any, until the run is over."""
    secret = None if address.startswith("ipc:") else shared_secret()
    environment = Environment()
    runner = worker_of(environment, address, secret, lambda: tell("unproven"))
    channel = ViaMaster(runner)
    share = join(runner, channel, token, wants, tell)
    remote = PLAN_VARIABLE not in os.environ
    if remote:
        os.environ[PLAN_VARIABLE] = str(Path.cwd() / "load-plan.json")
    from harness.load.process import locustfile

    environment.user_classes = [locustfile.PlannedUser]
    tell("joined", worker=share["worker"], of=share["of"])
    locustfile.conduct(runner, channel, share["worker"], share["of"])
    if remote:
        gevent.spawn(send_home, channel, Path.cwd(), share["worker"])
    runner.greenlet.join()
    if channel.missed:
        tell("missed")


if __name__ == "__main__":
    main()
