"""A live Triton for the time of a block, and the words for where it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from harness.load.address import LOOPBACK, is_loopback
from harness.load.tls import Tls
from harness.probe.environment import environment
from harness.probe.execution_providers import execution_providers
from harness.probe.nvidia import gpus as gpu
from harness.schema.errors import InputError
from harness.schema.point import Point, ServerSettings
from harness.schema.result import Environment, ServerMode
from harness.schema.scenario import SharedMemory
from harness.triton.binary import BinaryServer
from harness.triton.docker import Container, DockerServer, Network
from harness.triton.embedded import EmbeddedServer
from harness.triton.own import OwnServer
from harness.triton.remote import RemoteServer
from harness.triton.server import Server

MODEL_REPOSITORY = Path("model_repo")
"""Relative to the folder harness is started in, as scenarios/ and results/ are."""

SHARED: tuple[SharedMemory, ...] = get_args(SharedMemory)
"""Each asks more of a container than those before it."""

STARTED = ("embedded", "binary", "docker")
"""The modes in which the server is our own."""


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


@dataclass(frozen=True, slots=True)
class ServerTarget:
    """How Triton is to run: started here in one of three ways, or already running `at` an address."""

    mode: ServerMode = "embedded"
    at: Address | None = None
    container: Container | None = None
    """With `docker`, and then without the GPUs and the memory that the points need."""
    host: str = LOOPBACK
    """The address of this machine that a server started here listens on."""

    @classmethod
    def of(
        cls,
        server: str | None = None,
        *,
        host: str | None = None,
        url: str | None = None,
        grpc_port: int | None = None,
        tls: Tls | None = None,
        image: str | None = None,
        shm_size: str | None = None,
        network: str | None = None,
    ) -> ServerTarget:
        """Of the options of the same names. Raises InputError for those that don't go together."""
        at = Address.of(url, grpc_port, tls)
        if server not in (None, *STARTED):
            raise InputError(f"--server {server} is none of {', '.join(STARTED)}; one that runs is --url")
        if at is not None and server is not None:
            raise InputError("--server starts a Triton and --url names one that runs: give one of them")
        if at is not None and host is not None:
            raise InputError("--host is of a Triton that harness starts and --url names one that runs")
        listens = host or LOOPBACK
        of_docker = {"--image": image, "--shm-size": shm_size, "--network": network}
        given = [option for option, value in of_docker.items() if value is not None]
        if server != "docker":
            if given:
                raise InputError(f"{given[0]} is of a container: give --server docker too")
            if at is not None:
                return cls("remote", at)
            return cls("binary" if server == "binary" else "embedded", host=listens)
        if image is None:
            raise InputError("--server docker needs to know which: give --image NAME@sha256:…")
        if network not in (None, *get_args(Network)):
            raise InputError(f"--network {network} is none of {', '.join(get_args(Network))}")
        wanted: dict[str, Any] = {"shm_size": shm_size, "network": network}
        container = Container(image, **{k: v for k, v in wanted.items() if v})
        return cls("docker", container=container, host=listens)


EMBEDDED = ServerTarget()


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
    target: ServerTarget = EMBEDDED,
    points: Sequence[Point] = (),
    *,
    response_cache: bool = False,
    http_port: int = 0,
    grpc_port: int = 0,
) -> Iterator[Server]:
    """A live server, ours for the time of the block, or the one at the address; `points` it must suit."""
    if target.at is not None:
        with RemoteServer(target.at.url, grpc_port=target.at.grpc_port) as remote:
            yield remote
        return
    options: dict[str, Any] = {
        "gpu": gpu_usable(target.mode),
        "response_cache": response_cache,
        "client_memory": target.mode != "embedded" and any(p.shared_memory != "none" for p in points),
        "http_port": http_port,
        "grpc_port": grpc_port,
        "host": target.host,
    }
    with _own(target, points, MODEL_REPOSITORY, log, options) as server:
        yield server


def open_to_the_network(target: ServerTarget) -> str | None:
    """What to tell of a server that other machines reach; None for one that only this machine does."""
    if target.at is not None or is_loopback(target.host):
        return None
    return (
        f"whoever reaches {target.host} can send it requests and read its statistics, without a password, "
        "but not load models into it (docs/threats.md)"
    )


def open_to_others(server: Server) -> str | None:
    """What to tell of somebody's server that takes more than requests from anybody; None of any other."""
    if not isinstance(server, RemoteServer) or not (found := server.open_interfaces()):
        return None
    runs = ", which runs their code there" if "load models" in found else ""
    return (
        f"whoever reaches the Triton at {server.host}:{server.http_port} can {', '.join(found)}{runs}: "
        "docs/threats.md says how it is closed"
    )


def check_target(target: ServerTarget) -> None:
    """Rather now than after the export. Raises HarnessError where Triton can't run in this way, or doesn't
    answer."""
    if target.at is not None:
        with RemoteServer(target.at.url, grpc_port=target.at.grpc_port):
            return
    _own(target, (), MODEL_REPOSITORY, Path(os.devnull), {}).prepare()


def _own(
    target: ServerTarget, points: Sequence[Point], repository: Path, log: Path, options: dict[str, Any]
) -> OwnServer:
    if target.mode == "binary":
        return BinaryServer(repository, log, **options)
    if target.container is None:
        return EmbeddedServer(repository, log, **options)
    container = replace(
        target.container,
        gpus=_gpus([point.server for point in points], options.get("gpu", False)),
        shared_memory=max((point.shared_memory for point in points), key=SHARED.index, default="none"),
    )
    return DockerServer(container, repository, log, **options)


def _gpus(settings: Sequence[ServerSettings], gpu: bool) -> tuple[int, ...] | Literal["all", "none"]:
    """The GPUs that a container must have for any of these settings; without settings, what there is."""
    using = [s for s in settings if s.kind == "gpu" or (s.kind == "auto" and gpu)]
    if not using:
        return "all" if gpu and not settings else "none"
    chosen = {index for s in using for index in s.gpus or ()}
    return "all" if any(s.gpus is None for s in using) else tuple(sorted(chosen))


def gpu_usable(mode: ServerMode) -> bool:
    """Whether `kind: auto` means a GPU for a server that is started here: one that NVML lists and, where it
    is this environment's ONNX Runtime that serves, one that it can compute on."""
    if not gpu.devices():
        return False
    if mode != "embedded":
        return True
    return any(p.name == "CUDAExecutionProvider" and p.usable for p in execution_providers())


def environment_of(server: Server) -> Environment:
    """Where a measurement on this server happens. Call it once the model is served."""
    return environment(
        server_mode=server.mode,
        server_url=f"http://{server.host}:{server.http_port}",
        triton_version=server.version,
        backend=server.backend,
        backend_version=server.backend_version,
        execution_provider=server.execution_provider,
        provider_options=server.provider_options,
        server_image=server.image,
        server_command=server.command,
    )
