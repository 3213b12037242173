"""A Triton server that is already running somewhere: `--url`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Self

from harness.address import Url, is_unix
from harness.http_json import HTTPS_PORT
from harness.plain_text import quoted
from harness.schema.errors import InputError, ServerError
from harness.schema.model import Model, ModelArtifact
from harness.schema.point import ServerSettings
from harness.schema.served_model import Served, ServedModel
from harness.tls import Tls
from harness.triton import as_loaded, statistics
from harness.triton.control import Control
from harness.triton.described import described
from harness.triton.provider import provider_of
from harness.triton.restoration import Restoration, put_back_what_dead_runs_left
from harness.triton.statistics import Statistics
from harness.triton.way import Way

_OPEN = {
    # unloading a model that isn't there is granted, and does nothing
    "load models": ("POST", "/v2/repository/models/harness-asks-whether-this-is-open/unload"),
    "map its shared memory": ("GET", "/v2/systemsharedmemory/status"),
    "change its traces": ("GET", "/v2/trace/setting"),
    "change its log": ("GET", "/v2/logging"),
}
"""Interfaces that only the owner of a server should have, and a request to each that tells who has it."""


ONNXRUNTIME = "onnxruntime, as the remote server implements it"
UNIX = "unix:"
"""Before the path of a Unix socket, as nginx and gRPC write it."""
HTTP_PORT = 8000
"""Triton's own choice for its HTTP endpoint."""


class RemoteServer:
    """A `Server` (harness.triton.server) that belongs to someone else: it is never stopped or restarted.

    `url`: of its HTTP endpoint, or of a proxy before it: `http://host:port`, `https://host/path`, or
    `unix:/path` of a Unix socket. `at` is which of the host's numbers is meant, where it has several. `tls`
    says whom https trusts, `with_headers` that the user's own headers go with each request. A model is used
    as it is loaded there, but for the settings that are asked for; `say` is told of each change. What was
    loaded is put back at the end.

    Raises InputError for another kind of address, ServerError when nothing answers there.
    """

    mode = "remote"
    backend = ONNXRUNTIME
    backend_version: str | None = None
    image: str | None = None
    command: tuple[str, ...] | None = None
    access: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        url: str,
        *,
        at: str | None = None,
        grpc_port: int | None = None,
        metrics_port: int | None = None,
        tls: Tls | None = None,
        with_headers: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        secure = url.lower().startswith("https://")
        self.at = at
        if url.startswith(UNIX):
            self.at, url = url.removeprefix(UNIX), "http://localhost:80"
            if not is_unix(self.at):
                raise InputError(
                    f"{UNIX}{self.at} has no path from the root: give it as {UNIX}/run/triton.sock"
                )
        try:
            scheme, self.address, path = Url.parse(url, HTTPS_PORT if secure else HTTP_PORT)
        except ValueError:
            scheme = path = ""
        if scheme not in ("http", "https") or "?" in path:
            raise InputError(
                f"{url!r} is not a Triton server's address: give it as http://host:port, with the path that "
                "a proxy before it asks for"
            )
        if tls is not None and not secure:
            raise InputError(f"--http-ca, --http-cert and --http-key are of https, and the server is {url!r}")
        self.tls = (tls or Tls()) if secure else None
        """How its HTTP endpoint, or the proxy before it, speaks TLS."""
        self.prefix, self.with_headers = path.rstrip("/"), with_headers
        self.host, self.http_port = self.address
        self.grpc_port = grpc_port
        self.metrics_port = metrics_port
        self.version = ""
        self.execution_provider: str | None = None
        self.provider_options: dict[str, str] | None = None
        self.loaded: ServerSettings | None = None
        self.outputs: frozenset[str] | None = None
        self.say = say
        self._restoration = Restoration(self.way, say)
        self._first_seen: dict[str, dict[str, Any]] = {}
        """How each model was configured before harness changed it."""

    def __enter__(self) -> Self:
        self.version = self.control.server_metadata()["version"]
        put_back_what_dead_runs_left(self.way, self.say)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restoration.put_back()

    @property
    def replicas(self) -> tuple[Self]:
        return (self,)

    @property
    def url(self) -> str:
        """Of its HTTP endpoint."""
        if self.at is not None and is_unix(self.at):
            return f"{UNIX}{self.at}"
        return f"http{'s' if self.tls else ''}://{self.address}{self.prefix}"

    @property
    def way(self) -> Way:
        """How it is reached."""
        return Way(
            host=self.host,
            port=self.http_port,
            at=self.at,
            prefix=self.prefix,
            tls=self.tls,
            with_headers=self.with_headers,
        )

    @property
    def control(self) -> Control:
        return self.way.control()

    def describe(self, served: Served) -> ServedModel:
        """As it is loaded there. One that isn't is loaded, and unloaded at the end of the `with`."""
        if not self.control.model_ready(served.served, served.version):
            self._load_theirs(served)
        return described(self.control, served, source=f"as the {self.where} has it")

    def _load_theirs(self, served: Served) -> None:
        name = served.served
        self.say(f"loading {name}, which isn't loaded there; at the end it is unloaded again")
        try:
            with self._restoration.changing(name, None, {}):
                self.control.load(name)
        except ServerError as error:
            raise ServerError(
                f"{self.where} does not serve {served} and did not load it: {error}; "
                f"{self._others('name one of them, ')}or put it into its model repository"
            ) from error
        if not self.control.model_ready(name, served.version):
            raise InputError(f"{self.where} serves {name}, and not its version {served.version}")

    def serve(self, artifact: Model, settings: ServerSettings) -> str:
        """Use the model as it is loaded there; what of `settings` is given and differs is loaded anew.

        The model's file is the remote repository's own: harness doesn't send one. What was loaded is put back
        at the end of the `with`.
        """
        name = artifact.name
        self.execution_provider = self.provider_options = self.loaded = None
        self.backend = ONNXRUNTIME
        if isinstance(artifact, ServedModel):
            self.backend = f"{artifact.platform}, as the remote server implements it"
        loaded = self._loaded(artifact, settings)
        if isinstance(artifact, ModelArtifact):
            as_loaded.check_tensors(loaded, artifact, self.where)
        before = self._first_seen.setdefault(name, loaded)
        wanted = as_loaded.with_settings(before, artifact, settings)
        if as_loaded.same(wanted, loaded):
            self.say(f"{name} is measured as it is loaded there: {as_loaded.in_words(loaded)}")
        else:
            self.say(
                f"loading {name} anew there, as the scenario asks "
                f"({as_loaded.differences(loaded, wanted)}); at the end it is put back as it was"
            )
            self._load(name, wanted, before)
            loaded = self.control.model_config(name)
            if not as_loaded.same(wanted, loaded):
                raise ServerError(
                    f"{self.where} loaded {name} with other settings than asked "
                    f"({as_loaded.differences(wanted, loaded)}): see its config in /v2/models/{name}/config"
                )
        self.loaded = as_loaded.settings_of(loaded)
        self.outputs = frozenset(output["name"] for output in loaded.get("output", ()))
        if isinstance(artifact, ServedModel):
            self.execution_provider, self.provider_options = as_loaded.computed_with(artifact, loaded)
            return name
        self.execution_provider, options = provider_of(loaded)
        # Whether CUDA graphs that the configuration asks for are made depends on the implementation.
        known = self.execution_provider is not None and not self.loaded.cuda_graph
        self.provider_options = options if known else None
        return name

    def open_interfaces(self) -> tuple[str, ...]:
        """What anybody can do there beside sending requests. Nothing there is changed by asking."""
        return tuple(what for what, (method, path) in _OPEN.items() if self.control.takes(method, path))

    def _loaded(self, artifact: Model, settings: ServerSettings) -> dict[str, Any]:
        """The configuration of a model there. Where it isn't loaded yet, it is loaded as its owner has
        configured it, or, where nobody has, with our defaults."""
        name = artifact.name
        if isinstance(artifact, ServedModel):
            for each in artifact.asked:
                if not self.control.model_ready(each.name, each.version):
                    self._load_theirs(Served(served=each.name, version=each.version))
            return self.control.model_config(name, artifact.version)
        if not self.control.model_ready(name):
            self.say(f"loading {name}, which isn't loaded there; at the end it is unloaded again")
            try:
                with self._restoration.changing(name, None, {}):
                    self._load_first(artifact, settings)
            except ServerError as error:
                raise ServerError(
                    f"{self.where} does not serve {name} and did not load it: {error}; "
                    f"{self._others('name a model file after one of them, ')}copy "
                    f"model_repo/{name} into its model repository, or leave out --url"
                ) from error
        return self.control.model_config(name)

    def _load_first(self, artifact: ModelArtifact, settings: ServerSettings) -> None:
        try:
            self.control.load(artifact.name)
        except ServerError as as_configured:
            config = as_loaded.for_the_first_time(artifact, settings)
            self.say(f"{artifact.name} has no configuration there that loads: it gets harness's own")
            try:
                self.control.load(artifact.name, config)
            except ServerError:
                raise as_configured from None

    def _load(self, name: str, wanted: dict[str, Any], before: dict[str, Any]) -> None:
        try:
            with self._restoration.changing(name, before, wanted):
                self.control.load(name, wanted)
        except ServerError as error:
            raise ServerError(
                f"{self.where} does not serve {name} with these settings and did not load it so: {error}; "
                "leave them out of the scenario's `server` to measure it as it is loaded, or start it with "
                "these settings (`harness serve --help`), or with --model-control-mode=explicit, which lets "
                "whoever reaches it run code there"
            ) from error

    def _others(self, remedy: str) -> str:
        """What it does serve, and the remedy that follows from it; empty where it serves nothing."""
        try:
            ready = sorted({m["name"] for m in self.control.repository_index() if m.get("state") == "READY"})
        except ServerError:
            return ""
        if not ready:
            return ""
        return f"it serves {quoted(', '.join(ready), 300)}: {remedy}"

    @property
    def where(self) -> str:
        """For a sentence."""
        return f"Triton at {self.way.words}"

    def statistics(self, model: str, *, version: int | None = None, settled: bool = True) -> Statistics:
        return statistics.read(self.control, model, version=version, settled=settled)

    def exit_reason(self) -> str | None:
        return None

    def healthy(self) -> bool:
        return self.control.live()

    def restart(self) -> None:
        raise ServerError(f"{self.where} is not harness's own: restart it where it runs")

    def process_ids(self) -> list[int]:
        return []
