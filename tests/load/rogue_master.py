"""A master that has load processes of honest machines come to it, and means no good."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgpack
import zmq

Word = tuple[str, Any]
"""A kind of message of Locust's, and its data."""


@contextmanager
def leading(words: Sequence[Word]) -> Iterator[tuple[int, list[Any]]]:
    """Acknowledge each worker, and say these words to it once, after its first hello; the port, and what the
    workers say."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    router.setsockopt(zmq.RCVTIMEO, 100)
    over = threading.Event()
    heard: list[Any] = []

    def act() -> None:
        give_up = time.monotonic() + 60
        told: set[bytes] = set()
        while not over.is_set() and time.monotonic() < give_up:
            with suppress(zmq.Again):
                name, text = router.recv_multipart()
                kind, data, _ = msgpack.unpackb(text)
                heard.append((kind, data))

                def say(what: str, facts: Any, to: bytes = name) -> None:
                    router.send_multipart([to, msgpack.packb([what, facts, to.decode()])])

                if kind == "client_ready":
                    say("ack", {"index": 0})
                if kind == "heartbeat":
                    say("heartbeat", None)
                if kind == "harness" and name not in told:
                    told.add(name)
                    for what, facts in words:
                        say(what, facts)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield port, heard
    finally:
        over.set()
        thread.join()
        context.destroy(linger=0)
