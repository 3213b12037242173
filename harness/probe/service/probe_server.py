"""`harness probe --serve`: readings of this machine for a run that is led from elsewhere, over HTTP/1.1.

    GET /v1/clock               {"at_ns": CLOCK_MONOTONIC now}
    GET /v1/machine             a `hello` line of harness.probe.reader.spool: the machine and its GPUs
    POST /v1/watches            {"interval_s": 0.05} -> {"id": "..."}: reading has begun
    GET /v1/watches/ID?from=N   its lines from byte N on, as far as there are any
    DELETE /v1/watches/ID       {"size": bytes in all, "problem": null or a sentence}: reading has ended, and
                                the lines are there until nobody has asked for them for a while

Who can reach it can read what drivers and /proc say of the machine's GPUs, server and load; nothing else, and
nothing can be changed. It asks for no password, and gives a browser nothing. A refusal is {"error": "a
sentence"}. What one client takes is bounded (`http_server`, `watches`).
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from harness.address import Address
from harness.probe.gpus import Gpus
from harness.probe.reader.reader import INTERVAL_S, hello
from harness.probe.reader.spool import encoded
from harness.probe.service.http_server import Handler, Refused, Server
from harness.probe.service.watches import Watches
from harness.schema.errors import HarnessError

FASTEST_S, SLOWEST_S = 0.01, 10.0
MACHINE_S = 5.0
"""How long one answer about the machine is given again: asking the driver is work."""


class ProbeServer:
    """It answers at `host`:`port` (0: a free one) until closed. `pids` are the server's processes; without
    any, they are found by the server's name.

    Raises HarnessError where the address can't be listened on.
    """

    def __init__(self, host: str, port: int, pids: Sequence[int] = ()) -> None:
        self.watches = Watches([argument for pid in pids for argument in ("--pid", str(pid))])
        self._machine: tuple[float, bytes] | None = None
        self._machine_lock = threading.Lock()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = type("_Server", (Server,), {"address_family": family})
        try:
            self._http = bound((host, port), type("_Bound", (_Handler,), {"probe": self}))
        except OSError as error:
            self.watches.close()
            raise HarnessError(
                f"{Address(host, port)} can't be listened on ({_words(error)}): give --serve another address "
                "or port"
            ) from error
        self.port = int(self._http.server_address[1])
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def serve(self, until: Callable[[], bool] = lambda: False) -> None:
        """End watches that were forgotten, until `until` says so, which is asked every second."""
        while not until():
            time.sleep(1)
            self.watches.sweep()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self.watches.close()

    def machine(self) -> bytes:
        with self._machine_lock:
            if self._machine is None or time.monotonic() > self._machine[0] + MACHINE_S:
                with Gpus() as gpus:
                    gpus.read()  # what the driver refuses is known only then
                    self._machine = (time.monotonic(), encoded(hello(gpus)))
            return self._machine[1]


class _Handler(Handler):
    probe: ProbeServer

    def answer(self, body: bytes) -> tuple[int, Iterable[bytes]]:
        try:
            parts = urlsplit(self.path)
            path, query = parts.path, parse_qs(parts.query)
        except ValueError:
            raise Refused(400, "the path of the question is not a path") from None
        match self.command:
            case "GET":
                return self._get(path, query)
            case "POST":
                return _whole(self._post(path, body))
            case _:
                return _whole(json.dumps(self.probe.watches.get(_key(path)).end()).encode())

    def _get(self, path: str, query: dict[str, list[str]]) -> tuple[int, Iterable[bytes]]:
        if path == "/v1/clock":
            return _whole(b'{"at_ns": %d}' % time.monotonic_ns())
        if path == "/v1/machine":
            return _whole(self.probe.machine())
        start = query.get("from", ["0"])[-1]
        if not (start.isascii() and start.isdigit() and len(start) < 16):
            raise Refused(400, "`from` is a number of bytes")
        return self.probe.watches.get(_key(path)).lines(int(start))

    def _post(self, path: str, body: bytes) -> bytes:
        if path != "/v1/watches":
            raise Refused(404, "nothing is here to post to but /v1/watches")
        # a page in somebody's browser can post forms to this address, but not this without asking first
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "the body must be application/json")
        return json.dumps({"id": self.probe.watches.begin(self.address, _interval_s(body))}).encode()


def _whole(answer: bytes) -> tuple[int, Iterable[bytes]]:
    return len(answer), [answer]


def _words(error: OSError) -> str:
    """The system's words for a socket's failure, into which Python puts the address."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


def _key(path: str) -> str:
    folder, _, key = path.rpartition("/")
    if folder != "/v1/watches":
        raise Refused(404, "this probe speaks /v1/clock, /v1/machine and /v1/watches")
    return key


def _interval_s(body: bytes) -> float:
    try:
        asked: Any = json.loads(body or b"{}")
        interval_s = asked.get("interval_s", INTERVAL_S)
        if isinstance(interval_s, int | float) and FASTEST_S <= interval_s <= SLOWEST_S:
            return float(interval_s)
    except (ValueError, AttributeError, RecursionError):
        pass
    raise Refused(400, f'give {{"interval_s": seconds}}, from {FASTEST_S} to {SLOWEST_S:g}')
