"""`harness probe --serve`: readings of this machine for a run that is led from elsewhere, over HTTP/1.1.

    GET /v1/clock               {"at_ns": CLOCK_MONOTONIC now}
    GET /v1/machine             a `hello` line of harness.probe.spool: the machine and its GPUs
    POST /v1/watches            {"interval_s": 0.05} -> {"id": "..."}: reading has begun
    GET /v1/watches/ID?from=N   the lines of harness.probe.spool from byte N on, as far as there are any
    DELETE /v1/watches/ID       {"size": bytes in all, "problem": null or a sentence}: reading has ended, and
                                the lines are there until nobody has asked for them for a while

Who can reach it can read what NVML and /proc say of the machine's GPUs, server and load; nothing else, and
nothing can be changed. It asks for no password. A refusal is {"error": "a sentence"}.
"""

from __future__ import annotations

import json
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from harness.probe.gpu import Gpus
from harness.probe.reader import INTERVAL_S, hello
from harness.probe.reader_process import ReaderProcess
from harness.probe.spool import line
from harness.schema.errors import HarnessError

BODY_BYTES = 4096
CHUNK_BYTES = 4 << 20
WATCHES = 8
FORGOTTEN_S = 30.0
"""A watch that nobody has asked about for so long is ended: its run is gone."""
CONNECTION_S = 60.0
"""An idle connection is closed after this."""
FASTEST_S, SLOWEST_S = 0.01, 10.0


class ProbeServer:
    """Answers at `host`:`port` (0: a free one) until closed. `pids`: the server's; none: found by its name.

    Raises HarnessError where the address can't be listened on.
    """

    def __init__(self, host: str, port: int, pids: Sequence[int] = ()) -> None:
        self._watches: dict[str, _Watch] = {}
        self._lock = threading.Lock()
        self._pids = [argument for pid in pids for argument in ("--pid", str(pid))]
        self._folder = tempfile.TemporaryDirectory(prefix="harness-probe-")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = type("_Server", (_Server,), {"address_family": family})
        try:
            self._http = bound((host, port), type("_Bound", (_Handler,), {"probe": self}))
        except OSError as error:
            self._folder.cleanup()
            raise HarnessError(
                f"{host}:{port} can't be listened on ({error.strerror}): give --serve another address or port"
            ) from error
        self.port = int(self._http.server_address[1])
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def serve(self, until: Callable[[], bool] = lambda: False) -> None:
        """End watches that were forgotten, until `until` says so, which is asked every second."""
        while not until():
            time.sleep(1)
            self.sweep()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        with self._lock:
            for watch in self._watches.values():
                watch.end()
            self._watches.clear()
        self._folder.cleanup()

    def sweep(self) -> None:
        """End and drop the watches that were forgotten."""
        with self._lock:
            old = [key for key, w in self._watches.items() if time.monotonic() > w.asked + FORGOTTEN_S]
            dropped = [self._watches.pop(key) for key in old]
        for watch in dropped:
            watch.drop()

    # The answers.

    def machine(self) -> bytes:
        with Gpus() as gpus:
            gpus.read()  # what the driver refuses is known only then
            return line(hello(gpus))

    def begin(self, interval_s: float) -> str:
        with self._lock:
            if sum(not watch.ended for watch in self._watches.values()) >= WATCHES:
                raise _Refused(429, f"{WATCHES} runs are watching here already: try again when one has ended")
            key = secrets.token_hex(8)
            watch = self._watches[key] = _Watch(
                Path(self._folder.name) / key, [f"--interval-s={interval_s}", "--host", *self._pids]
            )
        watch.reader.wait_for_hello()
        watch.asked = time.monotonic()
        return key

    def watch(self, key: str) -> _Watch:
        with self._lock:
            watch = self._watches.get(key)
        if watch is None:
            raise _Refused(404, "no such watch: it ended, or was forgotten")
        watch.asked = time.monotonic()
        return watch


class _Watch:
    def __init__(self, path: Path, arguments: Sequence[str]) -> None:
        self.asked = time.monotonic()
        self.ended = False
        self.reader = ReaderProcess(path, arguments)
        self._problem: str | None = None
        self._ending = threading.Lock()

    def lines(self, start: int) -> bytes:
        with self.reader.spool.open("rb") as spool:
            spool.seek(start)
            return spool.read(CHUNK_BYTES)

    def end(self) -> dict[str, Any]:
        with self._ending:  # a client that lost the answer asks again
            self._problem = self.reader.end()
            self.ended = True
        return {"size": self.reader.spool.stat().st_size, "problem": self._problem}

    def drop(self) -> None:
        self.end()
        self.reader.spool.unlink(missing_ok=True)


class _Refused(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Without the look-up of this machine's full name, which takes seconds where DNS doesn't answer."""
        TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    probe: ProbeServer
    protocol_version = "HTTP/1.1"
    server_version = "harness-probe"
    sys_version = ""
    timeout = CONNECTION_S
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _get(self, path: str, query: dict[str, list[str]]) -> bytes:
        if path == "/v1/clock":
            return b'{"at_ns": %d}' % time.monotonic_ns()
        if path == "/v1/machine":
            return self.probe.machine()
        start = query.get("from", ["0"])[-1]
        if not (start.isascii() and start.isdigit() and len(start) < 16):
            raise _Refused(400, "`from` is a number of bytes")
        return self.probe.watch(_key(path)).lines(int(start))

    def _post(self, path: str, _: dict[str, list[str]]) -> bytes:
        if path != "/v1/watches":
            raise _Refused(404, "nothing is here to post to but /v1/watches")
        # a page in somebody's browser can post forms to this address, but not this without asking first
        if self.headers.get_content_type() != "application/json":
            raise _Refused(415, "the body must be application/json")
        return json.dumps({"id": self.probe.begin(_interval_s(self._body()))}).encode()

    def _delete(self, path: str, _: dict[str, list[str]]) -> bytes:
        return json.dumps(self.probe.watch(_key(path)).end()).encode()

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 16):
            raise _Refused(411, "the body must have a Content-Length")
        if int(length) > BODY_BYTES:
            raise _Refused(413, f"the body may have {BODY_BYTES} bytes")
        return self.rfile.read(int(length))

    def _answer(self, what: Callable[[str, dict[str, list[str]]], bytes]) -> None:
        try:
            parts = urlsplit(self.path)
            status, body = 200, what(parts.path, parse_qs(parts.query))
        except _Refused as refused:
            status, body = refused.status, _error(str(refused))
            self.close_connection = True  # what it sent may not have been read
        except Exception as error:  # a client is told that something went wrong here, not where
            status, body = 500, _error(f"the probe failed: {type(error).__name__}")
            self.close_connection = True
        self._send(status, body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses by itself: no HTTP, another method, a line too long."""
        self.close_connection = True
        self._send(code, _error(message or explain or "bad request"))

    def _send(self, status: int, body: bytes) -> None:
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: it would be a line each second."""


def _error(why: str) -> bytes:
    return json.dumps({"error": why}).encode()


def _key(path: str) -> str:
    folder, _, key = path.rpartition("/")
    if folder != "/v1/watches":
        raise _Refused(404, "this probe speaks /v1/clock, /v1/machine and /v1/watches")
    return key


def _interval_s(body: bytes) -> float:
    try:
        asked = json.loads(body or b"{}")
        interval_s = asked.get("interval_s", INTERVAL_S)
        if isinstance(interval_s, int | float) and FASTEST_S <= interval_s <= SLOWEST_S:
            return float(interval_s)
    except (ValueError, AttributeError, RecursionError):
        pass
    raise _Refused(400, f'give {{"interval_s": seconds}}, from {FASTEST_S} to {SLOWEST_S:g}')
