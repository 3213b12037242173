"""What Triton knows of shared memory: its registration, over HTTP whatever the protocol of the requests.

Source: docs/protocol/extension_shared_memory.md in triton-inference-server. System and CUDA memory differ in
what a registration says, and share their names.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, Literal

from harness.schema.errors import ServerError

Kind = Literal["system", "cuda"]
"""Which of Triton's two extensions a region belongs to."""

_ANSWER_LIMIT_S = 5.0
_RELEASE_S = 2.0


class ServerGone(ServerError):
    """No answer: there may be nobody left to ask."""


class RegionControl:
    """The endpoint of the Triton at `host` and `port`; `headers` go with each request."""

    def __init__(self, host: str, port: int, headers: Mapping[str, str] | None = None) -> None:
        self._host, self._port = host, port
        self._headers = dict(headers or {})

    def register(self, kind: Kind, name: str, described: dict[str, Any]) -> None:
        """Raises ServerError with Triton's own reason."""
        self._ask("POST", _path(kind, name, "register"), described)

    def unregister(self, kind: Kind, name: str) -> None:
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
        groups = json.loads(self._ask("GET", f"models/{model}/config"))["instance_group"]
        return next((int(gpu) for group in groups for gpu in group.get("gpus", ())), 0)

    def _known(self, kind: Kind, name: str) -> bool:
        try:
            self._ask("GET", _path(kind, name, "status"))
        except ServerGone:
            raise
        except ServerError:
            return False
        return True

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> str:
        connection = HTTPConnection(self._host, self._port, timeout=_ANSWER_LIMIT_S)
        try:
            connection.request(method, f"/v2/{path}", json.dumps(body) if body else None, self._headers)
            response = connection.getresponse()
            said = response.read().decode("utf-8", "replace")
        except (OSError, HTTPException) as error:
            raise ServerGone(f"no answer: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise ServerError(_reason(said) or f"HTTP {response.status}")
        return said


def _path(kind: Kind, name: str, what: str) -> str:
    return f"{kind}sharedmemory/region/{name}/{what}"


def _reason(said: str) -> str:
    try:
        return str(json.loads(said)["error"])
    except (ValueError, KeyError, TypeError):
        return said.strip()
