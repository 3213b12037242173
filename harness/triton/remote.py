"""A Triton server that is already running somewhere: `--url`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Self

from harness.address import Url
from harness.schema.errors import InputError, ServerError
from harness.schema.model import ModelArtifact
from harness.schema.point import ServerSettings
from harness.triton import statistics
from harness.triton.control import Control
from harness.triton.provider import provider_of
from harness.triton.repository import model_config
from harness.triton.statistics import Statistics

_OPEN = {
    # unloading a model that isn't there is granted, and does nothing
    "load models": ("POST", "/v2/repository/models/harness-asks-whether-this-is-open/unload"),
    "map its shared memory": ("GET", "/v2/systemsharedmemory/status"),
    "change its traces": ("GET", "/v2/trace/setting"),
    "change its log": ("GET", "/v2/logging"),
}
"""Interfaces that only the owner of a server should have, and a request to each that tells who has it."""


HTTP_PORT = 8000
"""Triton's own choice for its HTTP endpoint."""


class RemoteServer:
    """A `Server` (harness.triton.server) that belongs to someone else: it is never stopped or restarted.

    `url`: `http://host:port` of its HTTP endpoint. `kind: auto` is left to it: the model stays where it is
    loaded, else Triton there puts it on a GPU if it has one (its "KIND_AUTO").

    Raises InputError for another kind of address, ServerError when nothing answers there.
    """

    mode = "remote"
    backend = "onnxruntime, as the remote server implements it"
    backend_version: str | None = None
    image: str | None = None
    command: tuple[str, ...] | None = None
    access: Mapping[str, str] = MappingProxyType({})

    def __init__(self, url: str, *, grpc_port: int | None = None, metrics_port: int | None = None) -> None:
        if url.lower().startswith("https://"):
            raise InputError(
                f"Triton's HTTP endpoint has no TLS, so it can't be {url!r}: give it as http://host:port, "
                "and the CA of its gRPC endpoint with --grpc-ca"
            )
        try:
            scheme, self.address, path = Url.parse(url, HTTP_PORT)
        except ValueError:
            scheme = path = ""
        if scheme != "http" or path.strip("/"):
            raise InputError(f"{url!r} is not a Triton server's address: give it as http://host:port")
        self.host, self.http_port = self.address
        self.grpc_port = grpc_port
        self.metrics_port = metrics_port
        self.version = ""
        self.execution_provider: str | None = None
        self.provider_options: dict[str, str] | None = None

    def __enter__(self) -> Self:
        self.version = self.control.server_metadata()["version"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    @property
    def control(self) -> Control:
        return Control(self.host, self.http_port, timeout_s=10)

    def serve(self, artifact: ModelArtifact, settings: ServerSettings) -> str:
        """Use the model as it is loaded there if its settings are the wanted ones, else load it so.

        The model's file is the remote repository's own: harness doesn't send one.
        """
        name = artifact.name
        self.execution_provider = self.provider_options = None
        wanted = model_config(artifact, settings, gpu=self._on_gpu(artifact, settings))
        if not self._serves(name, wanted):
            self._load(name, wanted)
            if not self._serves(name, wanted):
                raise ServerError(
                    f"{self._where} loaded {name} with other settings than asked: "
                    f"see its config in /v2/models/{name}/config"
                )
        self.execution_provider, options = provider_of(self.control.model_config(name))
        # Whether CUDA graphs that the configuration asks for are made depends on the implementation.
        known = self.execution_provider is not None and not settings.cuda_graph
        self.provider_options = options if known else None
        return name

    def open_interfaces(self) -> tuple[str, ...]:
        """What anybody can do there beside sending requests. Nothing there is changed by asking."""
        return tuple(what for what, (method, path) in _OPEN.items() if self.control.takes(method, path))

    def _on_gpu(self, artifact: ModelArtifact, settings: ServerSettings) -> bool:
        """What `kind: auto` means there; for another kind it doesn't matter."""
        if settings.kind != "auto":
            return False
        if not self.control.model_ready(artifact.name):
            plain = {"kind": "cpu", "gpus": None, "provider": None, "cuda_graph": None}
            either = model_config(artifact, settings.model_copy(update=plain), gpu=False)
            either["instance_group"][0]["kind"] = "KIND_AUTO"
            self._load(artifact.name, either)
        return kind_of(self.control.model_config(artifact.name)) == "KIND_GPU"

    def _load(self, name: str, config: dict[str, Any]) -> None:
        try:
            self.control.load(name, config)
        except ServerError as error:
            raise ServerError(
                f"{self._where} does not serve {name} with these settings and did not load it: {error}; "
                "start it with these settings (`harness serve --help`), leave out --url, or copy "
                f"model_repo/{name} into its model repository and start it with "
                "--model-control-mode=explicit, which lets whoever reaches it run code there"
            ) from error

    @property
    def _where(self) -> str:
        return f"Triton at {self.address}"

    def statistics(self, model: str, *, settled: bool = True) -> Statistics:
        return statistics.read(self.control, model, settled=settled)

    def exit_reason(self) -> str | None:
        return None

    def healthy(self) -> bool:
        return self.control.live()

    def restart(self) -> None:
        raise ServerError(f"{self._where} is not harness's own: restart it where it runs")

    def process_ids(self) -> list[int]:
        return []

    def _serves(self, name: str, wanted: dict[str, Any]) -> bool:
        if not self.control.model_ready(name):
            return False
        loaded = self.control.model_config(name)
        asked = wanted["instance_group"][0].get("gpus")
        # Where none are asked for, Triton fills in all that it has.
        groups = loaded.get("instance_group") or [{}]
        if asked is not None and groups[0].get("gpus") != asked:
            return False
        return effective(loaded) == effective(wanted)


def kind_of(config: dict[str, Any]) -> str:
    groups = config.get("instance_group") or [{}]
    return str(groups[0].get("kind", "KIND_AUTO"))


def effective(config: dict[str, Any]) -> dict[str, Any]:
    """What of a ModelConfig (JSON form) harness varies, with Triton's defaults in the gaps."""
    groups = config.get("instance_group", [])
    batching = config.get("dynamic_batching", {})
    parameters = config.get("parameters", {})
    return {
        "max_batch_size": config.get("max_batch_size", 0),
        "instances": [(group.get("kind"), group.get("count", 1)) for group in groups],
        "provider": provider_of(config),
        "queue_delay_us": int(batching.get("max_queue_delay_microseconds", 0)),
        "threads": parameters.get("intra_op_thread_count", {}).get("string_value", "0"),
        "response_cache": bool(config.get("response_cache", {}).get("enable", False)),
        "tensors": {
            (kind, t["name"], t["data_type"], tuple(int(d) for d in t["dims"]))
            for kind in ("input", "output")
            for t in config.get(kind, [])
        },
    }
