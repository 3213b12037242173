"""Triton's control interface over HTTP: health, metadata, the model repository, statistics.

The paths are those of the KServe v2 protocol and of Triton's extensions to it (Triton's docs/protocol:
"Model Repository Extension", "Statistics Extension").
"""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter

from harness.address import Address
from harness.http_json import Client, refusal, words
from harness.plain_text import quoted
from harness.schema.errors import ServerError
from harness.triton import answer_shapes

Shape = TypeVar("Shape")

LOAD_LIMIT_S = 600.0
MOST_SAID = 1 << 16
"""Characters of an error text that are looked at for its cause."""
MOST_SHOWN = 1000
"""Characters of the cause."""


class Control:
    """A client of one server. Each call opens its own connection, so it may be used from any thread.

    Every call has a time limit, and its answer a limit of bytes. What goes wrong, Triton's own refusals
    included, is a ServerError. `headers` go with every call; `prefix` stands before every path, and with
    `tls` the server must prove that it is `host`. `at` is which of the host's numbers is meant, where it has
    several.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout_s: float = 5.0,
        headers: Mapping[str, str] | None = None,
        prefix: str = "",
        tls: ssl.SSLContext | None = None,
        at: str | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.timeout_s = timeout_s
        self._headers, self._prefix, self._tls, self._at = headers, prefix, tls, at

    def live(self, timeout_s: float | None = None) -> bool:
        """Whether the server answers that it is alive, within the limit."""
        return self._succeeds("/v2/health/live", timeout_s)

    def ready(self, timeout_s: float | None = None) -> bool:
        """Whether the server and every model that it has loaded can take requests."""
        return self._succeeds("/v2/health/ready", timeout_s)

    def model_ready(self, model: str, version: int | None = None) -> bool:
        return self._succeeds(f"{_model(model, version)}/ready", None)

    def server_metadata(self) -> answer_shapes.Metadata:
        """`version` of the server, and what else it says: `name`, `extensions`."""
        return self._read(answer_shapes.METADATA, "GET", "/v2")

    def model_config(self, model: str, version: int | None = None) -> dict[str, Any]:
        """The configuration in effect, with all that Triton filled in."""
        config = self._read(answer_shapes.MODEL_CONFIG, "GET", f"{_model(model, version)}/config")
        return {**config}

    def model_metadata(self, model: str, version: int | None = None) -> answer_shapes.ModelMetadata:
        """What it takes and gives, and which versions of it are loaded."""
        return self._read(answer_shapes.MODEL_METADATA, "GET", _model(model, version))

    def statistics(self, model: str, version: int | None = None) -> dict[str, Any]:
        """Cumulative statistics since the model was loaded: `model_stats`, one entry a version."""
        return self._read(answer_shapes.OBJECT, "GET", f"{_model(model, version)}/stats")

    def all_statistics(self) -> dict[str, Any]:
        """The same of every model that is loaded."""
        return self._read(answer_shapes.OBJECT, "GET", "/v2/models/stats")

    def repository_index(self) -> list[answer_shapes.Indexed]:
        """Every model the server knows of: `name`, and once it was loaded `version`, `state`, `reason`."""
        return self._read(answer_shapes.INDEX, "POST", "/v2/repository/index", {})

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
        return f"Triton at {Address(self.host, self.port)}"

    def _succeeds(self, path: str, timeout_s: float | None, method: str = "GET") -> bool:
        try:
            self._call(method, path, timeout_s=timeout_s)
        except ServerError:
            return False
        return True

    def _read(self, shape: TypeAdapter[Shape], method: str, path: str, document: Any = None) -> Shape:
        return answer_shapes.read(shape, self._call(method, path, document), f"{path} of {self._where}")

    def _call(self, method: str, path: str, document: Any = None, timeout_s: float | None = None) -> bytes:
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        try:
            with Client(self.host, self.port, self._headers, tls=self._tls, at=self._at) as client:
                asked = None if document is None else json.dumps(document).encode()
                status, body = client.ask(method, self._prefix + path, asked, limit_s=limit_s)
        except TimeoutError as error:
            raise ServerError(f"{self._where} did not answer within {limit_s:g} s: see its log") from error
        except OSError as error:
            raise ServerError(
                f"{self._where} can't be reached ({words(error)}): see whether it runs"
            ) from error
        except HTTPException as error:
            raise ServerError(
                f"{self._where} answered as no Triton does ({words(error)}): see what listens there"
            ) from error
        if status != 200:
            raise ServerError(plain(refusal(body)) or f"{self._where} answered {path} with HTTP {status}")
        return body


BUSY = ("READY", "LOADING", "UNLOADING")
"""States of the repository index in which a model is in the server's memory."""


def plain(error: str) -> str:
    """Triton's error text without the layers it wraps around the cause, in one line that has an end."""
    text = quoted(error[:MOST_SAID].split("\n\nAt:\n")[0], MOST_SAID).strip(" ;")
    text = re.sub(r"^.*\bis at UNAVAILABLE state: ", "", text)
    text = re.sub(
        r"^(?:(?:Internal|Invalid argument|Not found|Unavailable|TritonModelException): )+", "", text
    )
    return quoted(text, MOST_SHOWN)


def _model(model: str, version: int | None = None) -> str:
    of_version = "" if version is None else f"/versions/{version}"
    return f"/v2/models/{quote(model, safe='')}{of_version}"
