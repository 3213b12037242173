"""A Triton server that is already running somewhere: `--url`."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from harness.schema.errors import InputError, ServerError
from harness.schema.model import ModelArtifact
from harness.schema.point import ServerSettings
from harness.triton import statistics
from harness.triton.control import Control
from harness.triton.repository import model_config
from harness.triton.statistics import Statistics


class RemoteServer:
    """A `Server` (harness.triton.server) that belongs to someone else: it is never stopped or restarted.

    `url`: `http://host:port` of its HTTP endpoint. `gpu`: what `kind: auto` means there.

    Raises InputError for another kind of address, ServerError when nothing answers there.
    """

    backend = "onnxruntime, as the remote server implements it"

    def __init__(
        self, url: str, *, grpc_port: int | None = None, metrics_port: int | None = None, gpu: bool = False
    ) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.scheme == "https":
            raise InputError(
                f"Triton's HTTP endpoint has no TLS, so it can't be {url!r}: give it as http://host:port, "
                "and the CA of its gRPC endpoint with --grpc-ca"
            )
        if parts.scheme != "http" or not host or parts.path.strip("/") or parts.query or parts.username:
            raise InputError(f"{url!r} is not a Triton server's address: give it as http://host:port")
        self.host = host
        self.http_port = port or 8000
        self.grpc_port = grpc_port
        self.metrics_port = metrics_port
        self.gpu = gpu
        self.version = ""
        self.execution_provider: str | None = None

    def __enter__(self) -> Self:
        self.version = str(self.control.server_metadata().get("version", ""))
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
        wanted = model_config(artifact, settings, gpu=self.gpu)
        where = f"Triton at {self.host}:{self.http_port}"
        if not self._serves(name, wanted):
            try:
                self.control.load(name, wanted)
            except ServerError as error:
                raise ServerError(
                    f"{where} does not serve {name} with these settings and did not load it: {error}; copy "
                    f"model_repo/{name} into its model repository, and start it with "
                    "--model-control-mode=explicit"
                ) from error
            if not self._serves(name, wanted):
                raise ServerError(
                    f"{where} loaded {name} with other settings than asked: "
                    f"see its config in /v2/models/{name}/config"
                )
        kind = self.control.model_config(name)["instance_group"][0]["kind"]
        self.execution_provider = {"KIND_CPU": "CPUExecutionProvider"}.get(kind)
        return name

    def statistics(self, model: str, *, settled: bool = True) -> Statistics:
        return statistics.read(self.control, model, settled=settled)

    def exit_reason(self) -> str | None:
        return None

    def healthy(self) -> bool:
        return self.control.live()

    def restart(self) -> None:
        raise ServerError(
            f"Triton at {self.host}:{self.http_port} is not harness's own: restart it where it runs"
        )

    def process_ids(self) -> list[int]:
        return []

    def _serves(self, name: str, wanted: dict[str, Any]) -> bool:
        if not self.control.model_ready(name):
            return False
        return effective(self.control.model_config(name)) == effective(wanted)


def effective(config: dict[str, Any]) -> dict[str, Any]:
    """What of a ModelConfig (JSON form) harness varies, with Triton's defaults in the gaps."""
    groups = config.get("instance_group", [])
    batching = config.get("dynamic_batching", {})
    parameters = config.get("parameters", {})
    return {
        "max_batch_size": config.get("max_batch_size", 0),
        "instances": [(group.get("kind"), group.get("count", 1)) for group in groups],
        "queue_delay_us": int(batching.get("max_queue_delay_microseconds", 0)),
        "threads": parameters.get("intra_op_thread_count", {}).get("string_value", "0"),
        "response_cache": bool(config.get("response_cache", {}).get("enable", False)),
        "tensors": {
            (kind, t["name"], t["data_type"], tuple(int(d) for d in t["dims"]))
            for kind in ("input", "output")
            for t in config.get(kind, [])
        },
    }
