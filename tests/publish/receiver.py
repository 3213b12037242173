"""A webhook's receiver: a real HTTP server on loopback that keeps what it was sent and checks signatures by
the specification, without harness's code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


@dataclass
class Message:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def signed(self) -> bool:
        """Whether it comes from somebody who has the secret, and was sent just now."""
        told = self.headers
        content = f"{told['webhook-id']}.{told['webhook-timestamp']}.{self.body.decode()}"
        mac = hmac.new(KEY, content.encode(), hashlib.sha256).digest()
        right = f"v1,{base64.b64encode(mac).decode()}" in told["webhook-signature"].split(" ")
        return right and abs(time.time() - int(told["webhook-timestamp"])) < 300


@dataclass
class Receiver:
    port: int
    scheme: str = "http"
    messages: list[Message] = field(default_factory=list)

    def awaited(self, count: int) -> list[Message]:
        """All that came, once there are so many: a busy receiver reads one that was given up, later."""
        give_up = time.monotonic() + 30
        while len(self.messages) < count and time.monotonic() < give_up:
            time.sleep(0.01)
        return self.messages

    @property
    def environment(self) -> dict[str, str]:
        url = f"{self.scheme}://127.0.0.1:{self.port}/hooks/a?b=c"
        return {"HARNESS_WEBHOOK_URL": url, "HARNESS_WEBHOOK_SECRET": SECRET}


Answers = Callable[[BaseHTTPRequestHandler, int], None]
"""Answers a request, given how many came before it."""


def status(*codes: int) -> Answers:
    """One code after the other, the last for ever."""

    def answer(handler: BaseHTTPRequestHandler, before: int) -> None:
        handler.send_response(codes[min(before, len(codes) - 1)])
        handler.send_header("Location", "http://127.0.0.1:1/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@contextmanager
def receiver(answers: Answers, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.messages.append(Message(self.path, headers, body))
            with suppress(OSError):
                answers(self, len(found.messages) - 1)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    found = Receiver(server.server_address[1], "http" if tls is None else "https")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
