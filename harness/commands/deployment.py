"""A live Triton for the time of a block, and the words for where it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.load.address import LOOPBACK
from harness.load.tls import Tls
from harness.probe import gpu
from harness.probe.environment import environment
from harness.probe.execution_providers import execution_providers
from harness.schema.errors import InputError
from harness.schema.result import Environment
from harness.triton.embedded import EmbeddedServer
from harness.triton.remote import RemoteServer
from harness.triton.server import Server

MODEL_REPOSITORY = Path("model_repo")
"""Relative to the folder harness is started in, as scenarios/ and results/ are."""


@dataclass(frozen=True, slots=True)
class Address:
    """A Triton that runs elsewhere."""

    url: str
    grpc_port: int | None
    tls: Tls | None
    """Of its gRPC endpoint."""

    @classmethod
    def of(cls, url: str | None, grpc_port: int | None, tls: Tls | None) -> Address | None:
        """Raises InputError for TLS that can't be used."""
        if tls is not None:
            if url is None:
                raise InputError("TLS is of a Triton that is already running: give its --url too")
            tls.check()
        return None if url is None else cls(url, grpc_port, tls)


def tls(
    wanted: bool, ca: Path | None, certificate: Path | None = None, key: Path | None = None
) -> Tls | None:
    """Of the options of the same names: any of them asks for TLS. Raises InputError for unusable files."""
    if not wanted and ca is certificate is key is None:
        return None
    # Absolute, because the load process runs in a folder of its own.
    files = (None if file is None else str(file.absolute()) for file in (ca, certificate, key))
    found = Tls(**dict(zip(("ca", "certificate", "key"), files, strict=True)))
    found.check()
    return found


@contextmanager
def deployment(
    log: Path,
    *,
    at: Address | None = None,
    response_cache: bool = False,
    http_port: int = 0,
    grpc_port: int = 0,
    host: str = LOOPBACK,
) -> Iterator[Server]:
    """A live server, ours for the time of the block, or the one at `url`."""
    if at is not None:
        with RemoteServer(at.url, grpc_port=at.grpc_port) as remote:
            yield remote
        return
    with EmbeddedServer(
        MODEL_REPOSITORY,
        log,
        gpu=cuda_usable(),
        response_cache=response_cache,
        http_port=http_port,
        grpc_port=grpc_port,
        host=host,
    ) as embedded:
        yield embedded


def cuda_usable() -> bool:
    """Whether `kind: auto` means a GPU here: one that NVML lists and ONNX Runtime can compute on."""
    if not gpu.devices():
        return False
    return any(p.name == "CUDAExecutionProvider" and p.usable for p in execution_providers())


def environment_of(server: Server, *, embedded: bool) -> Environment:
    """Where a measurement on this server happens. Call it once the model is served."""
    return environment(
        server_mode="embedded" if embedded else "remote",
        server_url=f"http://{server.host}:{server.http_port}",
        triton_version=server.version,
        backend=server.backend,
        execution_provider=server.execution_provider,
    )
