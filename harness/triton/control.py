"""Triton's control interface over HTTP: health, metadata, the model repository, statistics.

The paths are those of the KServe v2 protocol and of Triton's extensions to it (Triton's docs/protocol:
"Model Repository Extension", "Statistics Extension").
"""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from harness.schema.errors import ServerError

LOAD_LIMIT_S = 600.0


class Control:
    """A client of one server. Each call opens its own connection, so it may be used from any thread.

    Every call has a time limit. What goes wrong, Triton's own refusals included, is a ServerError.
    """

    def __init__(
        self, host: str, port: int, *, timeout_s: float = 5.0, headers: Mapping[str, str] | None = None
    ) -> None:
        self.host = host
        self.port = port
        self.timeout_s = timeout_s
        self.headers = dict(headers or {})

    def live(self, timeout_s: float | None = None) -> bool:
        """Whether the server answers that it is alive, within the limit."""
        return self._succeeds("/v2/health/live", timeout_s)

    def ready(self, timeout_s: float | None = None) -> bool:
        """Whether the server and every model that it has loaded can take requests."""
        return self._succeeds("/v2/health/ready", timeout_s)

    def model_ready(self, model: str) -> bool:
        return self._succeeds(f"{_model(model)}/ready", None)

    def server_metadata(self) -> dict[str, Any]:
        """`name`, `version` and `extensions` of the server."""
        return _object(self._call("GET", "/v2"))

    def model_metadata(self, model: str) -> dict[str, Any]:
        return _object(self._call("GET", _model(model)))

    def model_config(self, model: str) -> dict[str, Any]:
        """The configuration in effect, with all that Triton filled in."""
        return _object(self._call("GET", f"{_model(model)}/config"))

    def statistics(self, model: str) -> dict[str, Any]:
        """Cumulative statistics since the model was loaded: `model_stats`, one entry a version."""
        return _object(self._call("GET", f"{_model(model)}/stats"))

    def repository_index(self) -> list[dict[str, Any]]:
        """Every model the server knows of: `name`, and once it was loaded `version`, `state`, `reason`."""
        index = self._call("POST", "/v2/repository/index", {})
        if not isinstance(index, list):
            raise ServerError(
                f"{self._where} answered its repository index with something else: is it Triton?"
            )
        return index

    def load(self, model: str, config: Mapping[str, Any] | None = None) -> None:
        """Load or reload `model`, with `config` (JSON form) in place of its config.pbtxt if given."""
        parameters = {} if config is None else {"parameters": {"config": json.dumps(config)}}
        self._call("POST", f"/v2/repository/models/{quote(model, safe='')}/load", parameters, LOAD_LIMIT_S)

    def unload(self, model: str, *, limit_s: float = 60.0) -> None:
        """Unload `model` and wait until it is gone: Triton answers before that."""
        self._call("POST", f"/v2/repository/models/{quote(model, safe='')}/unload", {})
        give_up = time.monotonic() + limit_s
        while any(m["name"] == model and m.get("state") in BUSY for m in self.repository_index()):
            if time.monotonic() > give_up:
                raise ServerError(f"{self._where} did not unload {model} within {limit_s:g} s: restart it")
            time.sleep(0.01)

    def takes(self, method: str, path: str) -> bool:
        """Whether the server grants such a request, without a body."""
        return self._succeeds(path, None, method)

    @property
    def _where(self) -> str:
        return f"Triton at {self.host}:{self.port}"

    def _succeeds(self, path: str, timeout_s: float | None, method: str = "GET") -> bool:
        try:
            self._call(method, path, timeout_s=timeout_s)
        except ServerError:
            return False
        return True

    def _call(self, method: str, path: str, body: Any = None, timeout_s: float | None = None) -> Any:
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        connection = http.client.HTTPConnection(self.host, self.port, timeout=limit_s)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self.headers)
            response = connection.getresponse()
            text = response.read()
        except TimeoutError as error:
            raise ServerError(f"{self._where} did not answer within {limit_s:g} s: see its log") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ServerError(f"{self._where} can't be reached ({reason}): see whether it runs") from error
        finally:
            connection.close()
        try:
            answer = json.loads(text) if text.strip() else {}
        except ValueError:
            answer = text.decode(errors="replace")
        if response.status != 200:
            said = answer.get("error", "") if isinstance(answer, dict) else str(answer)
            raise ServerError(plain(said) or f"{self._where} answered {path} with HTTP {response.status}")
        return answer


BUSY = ("READY", "LOADING", "UNLOADING")
"""States of the repository index in which a model is in the server's memory."""


def plain(error: str) -> str:
    """Triton's error text without the layers it wraps around the cause, in one line."""
    text = error.split("\n\nAt:\n")[0]
    text = re.sub(r"\s+", " ", text).strip(" ;")
    text = re.sub(r"^.*\bis at UNAVAILABLE state: ", "", text)
    return re.sub(
        r"^(?:(?:Internal|Invalid argument|Not found|Unavailable|TritonModelException): )+", "", text
    )


def _model(model: str) -> str:
    return f"/v2/models/{quote(model, safe='')}"


def _object(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise ServerError(f"the server answered {str(answer)[:60]!r} instead of an object: is it Triton?")
    return answer
