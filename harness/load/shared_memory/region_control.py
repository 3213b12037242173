"""What Triton knows of shared memory: its registration, over HTTP whatever the protocol of the requests.

Source: docs/protocol/extension_shared_memory.md in triton-inference-server. System and CUDA memory differ in
what a registration says, and share their names.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Literal
from urllib.parse import quote

from harness.http_json import Client, parsed, refusal, words
from harness.plain_text import quoted
from harness.schema.errors import ServerError

RegionKind = Literal["system", "cuda"]
"""Which of Triton's two extensions a region belongs to."""

_ANSWER_LIMIT_S = 5.0
_RELEASE_S = 2.0
MOST_GPUS = 1 << 16
"""GPUs of one machine: more than any has."""


class ServerGone(ServerError):
    """No answer: there may be nobody left to ask."""


class RegionControl:
    """The endpoint of the Triton at `host` and `port`. `headers` go with every request."""

    def __init__(self, host: str, port: int, *, headers: Mapping[str, str] | None = None) -> None:
        self._host, self._port, self._headers = host, port, headers

    def register(self, kind: RegionKind, name: str, described: dict[str, Any]) -> None:
        """Raises ServerError with Triton's own reason."""
        self._ask("POST", _path(kind, name, "register"), described)

    def unregister(self, kind: RegionKind, name: str) -> None:
        """Never raises; returns once Triton has let go of the region, or has been given time to.

        It answers a request before it lets go of its memory. Of a region that is still held, it says that it
        can't go (2.51), or that it will, and knows it until then (later versions).
        """
        give_up = time.monotonic() + _RELEASE_S
        while time.monotonic() < give_up:
            try:
                self._ask("POST", _path(kind, name, "unregister"))
                if not self._known(kind, name):
                    return
            except ServerGone:  # or it hangs: it has forgotten the region, or will
                return
            except ServerError:
                pass
            time.sleep(0.02)

    def gpu_of(self, model: str) -> int:
        """Triton's number of the first GPU with instances of the model, 0 without any. Raises ServerError."""
        answer = self._ask("GET", f"models/{quote(model, safe='')}/config")
        try:
            groups = parsed(answer).get("instance_group", ())
            gpu = next((gpu for group in groups for gpu in group.get("gpus", ())), 0)
        except (ValueError, TypeError, AttributeError):
            gpu = None
        if not isinstance(gpu, int) or not 0 <= gpu < MOST_GPUS:
            raise ServerError(
                f"the server at {self._host} describes the instances of {model} as no Triton does: "
                "see what listens there"
            )
        return gpu

    def _known(self, kind: RegionKind, name: str) -> bool:
        try:
            self._ask("GET", _path(kind, name, "status"))
        except ServerGone:
            raise
        except ServerError:
            return False
        return True

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        try:
            with Client(self._host, self._port, self._headers) as client:
                asked = json.dumps(body).encode() if body else None
                status, said = client.ask(method, f"/v2/{path}", asked, limit_s=_ANSWER_LIMIT_S)
        except (OSError, HTTPException) as error:
            raise ServerGone(f"no answer: {words(error)}") from error
        if status != 200:
            raise ServerError(quoted(refusal(said)) or f"HTTP {status}")
        return said


def _path(kind: RegionKind, name: str, what: str) -> str:
    return f"{kind}sharedmemory/region/{name}/{what}"
