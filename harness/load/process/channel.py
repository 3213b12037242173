"""How a load process talks with the driver: over two pipes where it is alone.

Several load processes talk through Locust's master instead (`harness.load.distributed.worker`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import gevent
import gevent.os

Order = dict[str, Any]
"""`do` says what, with what it needs: see `Conductor`."""


class Channel(Protocol):
    def say(self, event: str, **facts: Any) -> None:
        """Tell the driver, in order."""

    def listen(self, told: Callable[[Order], None]) -> None:
        """Call `told` with each order from now on, and with `end` when the driver is gone."""


class Pipes:
    """Lines of JSON over inherited pipes, described as "read,write"."""

    def __init__(self, described: str) -> None:
        self._read, self._write = (int(number) for number in described.split(","))
        gevent.os.make_nonblocking(self._read)

    def say(self, event: str, **facts: Any) -> None:
        with suppress(BrokenPipeError):  # the driver is gone, which `_listen` sees
            os.write(self._write, (json.dumps({"event": event} | facts) + "\n").encode())

    def listen(self, told: Callable[[Order], None]) -> None:
        gevent.spawn(self._listen, told)

    def _listen(self, told: Callable[[Order], None]) -> None:
        rest = b""
        while got := gevent.os.nb_read(self._read, 4096):
            *lines, rest = (rest + got).split(b"\n")
            for line in lines:
                told(json.loads(line))
        told({"do": "end"})
