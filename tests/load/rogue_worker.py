"""Somebody at the port of a run's Locust master who is no load process of harness, or not an honest one."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgpack
import zmq

from harness.load.distributed.messages import versions

MALFORMED = (
    b"",
    b"\xc1",
    b"\x93",
    b"\x91" * 4000,
    b"\xdd\xff\xff\xff\xff",
    msgpack.packb(7),
    msgpack.packb(["heartbeat"]),
    msgpack.packb([["harness"], {}, "x"]),
    msgpack.packb(["heartbeat", {"state": 1}, "somebody else"]),
    msgpack.packb(["stats", {"__datetime__": 1, "as_str": "never"}, None]),
    msgpack.packb(["spawning_complete", None, b"\xff"]),
    msgpack.packb(["locustfile", {"version": "2"}, "rogue"]),
    msgpack.packb(["client_ready", [1, 2], "rogue"]),
    msgpack.packb(["logs", 5, "rogue"]),
    msgpack.packb(["exception", {}, "rogue"]),
    msgpack.packb(["harness", None, "rogue"]),
    msgpack.packb(["harness", {"event": "hello"}, "rogue"]),
    msgpack.packb(["harness", {"event": ["hello"]}, "rogue"]),
)


class Rogue:
    """Speaks Locust's protocol at `port`, and says what it likes."""

    def __init__(self, port: int, name: str = "rogue") -> None:
        self.name = name
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IDENTITY, name.encode())
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVTIMEO, 500)
        self._socket.connect(f"tcp://127.0.0.1:{port}")

    def raw(self, *parts: bytes) -> None:
        with suppress(zmq.Again):
            self._socket.send_multipart(parts, zmq.NOBLOCK)

    def locust(self, kind: str, data: Any) -> None:
        self.raw(msgpack.packb([kind, data, self.name]))

    def say(self, event: str, **facts: Any) -> None:
        self.locust("harness", {"event": event} | facts)

    def heard(self) -> tuple[str, Any]:
        """The next message's word and data; of no word where none comes."""
        try:
            kind, data, _ = msgpack.unpackb(self._socket.recv())
        except zmq.Again:
            return "", {}
        return kind, data

    def order(self) -> dict[str, Any]:
        """The next word of harness; nothing where none comes."""
        while True:
            kind, data = self.heard()
            if kind in ("harness", ""):
                return dict(data)

    def join(self, give_up_s: float = 30.0, *, ready: bool = True) -> int:
        """Become a load process, as an honest one does; the number. `ready`: it says so to Locust."""
        give_up = time.monotonic() + give_up_s
        received = 0
        greeted = False
        while time.monotonic() < give_up:
            if not greeted:
                if ready:
                    self.locust("client_ready", "2.40.0")
                facts = {"host": socket.gethostname(), "pid": os.getpid(), "versions": versions()}
                self.say("hello", token="0" * 16, wants=None, **facts)
            order = self.order()
            if order.get("do") == "file":
                greeted = True
                received += len(order["data"])
                self.say("received", bytes=received)
            elif order.get("do") == "go":
                return int(order["worker"])
        raise TimeoutError

    def close(self) -> None:
        self._context.destroy(linger=0)


@contextmanager
def joined(port: int, then: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[None]:
    """A rogue that becomes a load process and then says these words, again and again."""
    over = threading.Event()

    def act() -> None:
        rogue = Rogue(port)
        with suppress(TimeoutError):
            rogue.join()
            for _ in range(200):
                for event, facts in then:
                    rogue.say(event, **facts)
                if over.wait(0.1):
                    break
        rogue.close()

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def besieged(port: int, connections: int = 200) -> Iterator[None]:
    """An attacker without a secret: half-open connections, bytes that are no ZMTP, frames of 2**62 bytes, and
    messages that are none of Locust's."""
    over = threading.Event()
    huge = b"\xff" + bytes(8) + b"\x01\x7f\x03\x00NULL" + bytes(48) + b"\x06" + b"\x3f" + b"\xff" * 7

    def act() -> None:
        held: list[socket.socket] = []
        rogues: list[Rogue] = []
        give_up = time.monotonic() + 60
        turn = 0
        while not over.wait(0.01) and time.monotonic() < give_up:
            turn += 1
            with suppress(OSError):
                source = (f"127.0.0.{2 + turn % 20}", 0)
                connection = socket.create_connection(("127.0.0.1", port), 1, source_address=source)
                held.append(connection)
                connection.sendall((b"", b"GET / HTTP/1.1\r\n\r\n", huge, os.urandom(200))[turn % 4])
            if len(held) > connections:
                held.pop(0).close()
            if turn % 20 == 1 and len(rogues) < 5:
                rogues.append(Rogue(port, ("rogue", "r2", "r3", "r4", "r5")[len(rogues)]))
            for rogue in rogues:
                for text in MALFORMED:
                    rogue.raw(text)
                rogue.raw(b"a", b"b", b"c")
        for connection in held:
            connection.close()
        for rogue in rogues:
            rogue.close()

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
