"""Locust's channel as an end hears it: `python -m tests.fuzz.locust_channel master|worker`.

Whoever imports Locust is patched by it, as no test's process is.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import msgpack
import zmq
from hypothesis import strategies as st
from locust.env import Environment
from locust.exception import RPCError

from harness.load.distributed import runners, worker
from harness.load.distributed.master import Relay
from harness.load.distributed.messages import TYPE, versions
from harness.load.distributed.runners import GuardedMaster, GuardedWorker, master_of
from harness.load.endpoint import Endpoint
from harness.load.load_plan import LoadPlan, PlannedClass, write_plan
from tests.fuzz import fuzz, mutated

HELLO = {
    "event": "hello",
    "token": "0" * 16,
    "wants": None,
    "host": "h",
    "pid": 1,
    "versions": versions(),
}
RECORD = bytes(16) + bytes(32)
SAID: list[Any] = [
    HELLO,
    {"event": "lost", "token": "0" * 16, "how": "was stopped"},
    {"event": "pong", "sent_ns": 1, "at_ns": 2},
    {"event": "received", "bytes": 5},
    {"event": "recorded", "kind": "spool", "at": 0, "data": RECORD},
    {"event": "recorded", "kind": "reasons", "at": 0, "data": b'"a reason"\n'},
    {"event": "here", "host": "h", "pid": 3},
    {"event": "ready", "users": 1},
    {"event": "progress", "phase": "MEASURE", "succeeded": 1, "failed": 0, "elapsed_s": 0.5},
    {
        "event": "over",
        "phase": None,
        "window": [1, 2],
        "cpu_s": 0.1,
        "requests": 1,
        "resent": 0,
        "spool_bytes": 1,
        "text_bytes": 0,
    },
    {"event": "failed", "reason": "OSError"},
]
TOLD: list[Any] = [
    {"do": "wait"},
    {"do": "ping", "sent_ns": 1},
    {"do": "kept", "bytes": 1},
    {"do": "file", "name": "load-plan.json", "at": 0, "data": b"{}"},
    {"do": "go", "worker": 0, "of": 1},
    {"do": "refuse", "why": "no"},
    {"do": "begin", "phase": "WARMUP", "at_ns": 1, "seconds": 1.0},
    {"do": "enough", "at_ns": 5},
]
FROM_WORKERS: list[tuple[str, Any]] = [
    ("client_ready", "2.40.0"),
    ("client_stopped", None),
    ("heartbeat", {"state": "ready", "current_cpu_usage": 0, "current_memory_usage": 1}),
    ("spawning", None),
    ("spawning_complete", {"user_classes_count": {"PlannedUser": 1}, "user_count": 1}),
    ("stats", {"stats": [], "errors": {}, "stats_total": {}}),
    ("locustfile", {"version": "2"}),
    ("quit", None),
    *((TYPE, said) for said in SAID),
]
FROM_MASTER: list[tuple[str, Any]] = [
    ("ack", {"index": 0}),
    ("spawn", {"timestamp": 1.0, "user_classes_count": {"PlannedUser": 1}, "host": None}),
    ("spawning_complete", {"user_count": 1}),
    ("heartbeat", None),
    ("update_user_class", {"user_class_name": "PlannedUser"}),
    *((TYPE, told) for told in TOLD),
]

leaf = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(), st.binary()
)
anything = st.recursive(leaf, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x, max_size=3))


@st.composite
def message(draw: st.DrawFn, samples: list[tuple[str, Any]]) -> bytes:
    """One of the samples with a part of its data replaced by anything; or with its bytes changed."""
    kind, data = draw(st.sampled_from(samples))
    if draw(st.booleans()):
        return draw(mutated(msgpack.packb([kind, data, "w"])))
    if isinstance(data, dict) and draw(st.booleans()):
        data = data | {draw(st.sampled_from([*data, "more"])): draw(anything)}
    elif draw(st.booleans()):
        data = draw(anything)
    return bytes(msgpack.packb([kind, data, draw(st.sampled_from(["w", "w", "w", "v", None]))]))


class Told:
    """A driver that must be able to read what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def listen(self, _: Any) -> None:
        pass

    def say(self, event: str, **facts: Any) -> None:
        assert isinstance(facts["worker"], int) or event in ("refused", "dropped")
        self.heard.append(event)


def ended() -> list[bytes]:
    raise zmq.ContextTerminated


def close_keepers(relay: Relay) -> None:
    """A master has one relay in its life; the next example's needs the descriptors."""
    for node in relay._nodes.values():
        if node.keeper is not None:
            node.keeper.close()


def master() -> None:
    folder = Path(tempfile.mkdtemp())
    plan = write_plan(
        LoadPlan(
            endpoint=Endpoint(protocol="http", host="h", port=1, timeout_s=1.0),
            classes=(PlannedClass(name="a", weight=1.0, requests=((0, 1),)),),
            seed=1,
            concurrency=1,
            warmup_s=0.0,
            limit_s=1.0,
        ),
        {},
        folder,
    )
    runner: GuardedMaster = master_of(Environment(), str(folder / "master"), None)
    runner.greenlet.kill()  # its own listener
    sent: list[Any] = []
    runner.server.send_to_client = sent.append

    relay, driver = Relay(runner, Told(), plan, of=2, remote=True), Told()  # type: ignore[arg-type]
    relay._pipes = driver  # type: ignore[assignment]
    for facts in (HELLO, SAID[2], {"event": "failed"}, {"event": "failed"}, SAID[5]):
        relay._heard(SimpleNamespace(node_id="w", data=facts))
    assert not relay._nodes[0].pong.ready(), "it was asked nothing"
    assert driver.heard == ["came", "lost"], "it is heard no more"
    assert not list(folder.glob("requests-*")), "nor is anything kept of it"

    runner.custom_messages.clear()  # as Locust takes one listener only
    relay = Relay(runner, Told(), plan, of=2, remote=True)  # type: ignore[arg-type]
    for facts in (HELLO, SAID[4], SAID[5]):
        relay._heard(SimpleNamespace(node_id="w", data=facts))
    assert {p.name: p.read_bytes() for p in folder.glob("requests-*")} == {
        "requests-0.spool": RECORD,
        "requests-0.reasons": b'"a reason"\n',
    }, "what one of the load processes records is kept"
    close_keepers(relay)

    name = st.sampled_from([b"w", b"w", b"w", b"v", b"u", b"x", b"\xff", b""])
    runners._WORKERS = 1
    for each in ("w", "v", "u"):
        runner.handle_message(each, SimpleNamespace(type="client_ready", data="2", node_id=each))
    assert list(runner.worker_indexes) == ["w"] and runner.dropped == 2

    @fuzz(st.lists(st.tuples(name, message(FROM_WORKERS)), max_size=6), st.booleans())
    def target(texts: list[tuple[bytes, bytes]], joined: bool) -> None:
        runner.clients._worker_nodes.clear()
        sent.clear()
        driver = Told()
        runner.custom_messages.clear()
        relay = Relay(runner, driver, plan, of=2, remote=True)  # type: ignore[arg-type]
        if joined:
            relay._heard(SimpleNamespace(node_id="w", data=HELLO))
        come = [[sender, text] for sender, text in texts]
        runner.server.socket = SimpleNamespace(recv_multipart=lambda: come.pop(0) if come else ended())
        while True:
            left = [parts[0] for parts in come]
            try:
                client_id, parsed = runner.server.recv_from_client()
            except RPCError:
                break
            assert client_id == parsed.node_id and client_id.encode() in left, "nobody speaks for another"
            runner.handle_message(client_id, parsed)
        assert not any(node.pong.ready() for node in relay._nodes.values()), "nobody has been asked"
        gevent.sleep(0)
        close_keepers(relay)
        assert len(runner.worker_indexes) <= 1, runner.worker_indexes
        assert {p.name for p in folder.iterdir()} <= {
            *("master", "load-plan.json", "requests-0.spool", "requests-0.reasons")
        }

    import logging

    class Raise(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "Uncaught" in record.getMessage():
                raise AssertionError(record.getMessage())

    logging.raiseExceptions = True
    logging.getLogger().addHandler(Raise())
    target()


def follow() -> None:
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)

    class Runner:
        environment = Environment()
        user_classes: list[Any] = []  # noqa: RUF012
        custom_messages: dict[str, Any] = {}  # noqa: RUF012

        def register_message(self, kind: str, listener: Any) -> None:
            self.custom_messages[kind] = (listener, False)

        def send_message(self, *_: Any) -> None:
            pass

    @fuzz(st.lists(message(FROM_MASTER), max_size=6))
    def target(texts: list[bytes]) -> None:
        runner = Runner()
        channel = worker.ViaMaster(runner)
        for text in texts:
            parsed = runners.unpacked(text, runners._FROM_MASTER)
            if parsed is None:
                continue
            if parsed.type == TYPE:
                try:
                    channel._heard(parsed)
                except SystemExit as end:
                    assert str(end).startswith("the run sent what no run sends: ")
            elif parsed.type == "spawn":
                GuardedWorker.handle_message(runner, parsed)  # of no user class that is here
        assert channel._orders.qsize() <= 6
        assert not list(folder.iterdir())

    target()


if __name__ == "__main__":
    {"master": master, "worker": follow}[sys.argv[1]]()
    os._exit(0)
