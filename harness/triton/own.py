"""A Triton that harness starts itself, in whichever way: its ports, its model, its health, its end."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Protocol, Self

from harness.cache import lock
from harness.schema.errors import InputError, ServerError
from harness.schema.model import ModelArtifact
from harness.schema.point import ServerSettings
from harness.schema.result import ServerMode
from harness.triton import implementation, ownership, process, shared_memory, statistics
from harness.triton.control import BUSY, Control
from harness.triton.provider import provider_of
from harness.triton.repository import write_model
from harness.triton.statistics import Statistics

START_ATTEMPTS = 3
STOP_LIMIT_S = 15.0
PROBES = 3
PROBE_LIMIT_S = 2.0

CUDA_ORDER = ("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
"""An environment variable that makes CUDA number the GPUs as NVML does; its default is the fastest first."""

CLIENT_MEMORY = "--allow-client-shm"
"""Newer servers take shared memory of clients only when told so (Triton's "Shared-Memory Extension"). Older
ones do without, and don't start where they are told."""

_PORT_TAKEN = ("already in use", "already allocated")
"""What Triton and container engines say when somebody takes a port between our choice and their use."""


class Running(Protocol):
    """A server process that was started."""

    command: tuple[str, ...]

    def exit_reason(self) -> str | None:
        """Why it is gone, in words; None while it lives. Costs nothing."""

    def process_ids(self) -> list[int]:
        """Its processes and those of its model instances; empty where they can't be seen."""

    def end(self, *, grace_s: float) -> None:
        """End it: asked first, if there is a grace time, then killed."""


class OwnServer(ABC):
    """A `Server` (harness.triton.server) of our own, from `with` to the end of its block.

    `repository`: folder of model entries; `serve` writes its own there. `log`: file that the server's output
    is appended to. `gpu`: what `kind: auto` means. `auto_complete`: fill in what an entry leaves out;
    `serve` leaves nothing out, and it costs a second of each load. `client_memory`: clients will send tensors
    in shared memory. A port of 0 means any free one; `host` is
    an IPv4 address to listen on. The server is killed with the thread that entered the block.

    Raises HarnessError where such a server can't run, ServerError when it doesn't start.
    """

    mode: ClassVar[ServerMode]
    start_limit_s: ClassVar[float]
    backend: str = implementation.UNKNOWN
    image: str | None = None

    def __init__(
        self,
        repository: Path,
        log: Path,
        *,
        gpu: bool = False,
        response_cache: bool = False,
        auto_complete: bool = False,
        client_memory: bool = False,
        http_port: int = 0,
        grpc_port: int = 0,
        metrics_port: int = 0,
        host: str = process.HOST,
    ) -> None:
        self.host = host
        self.repository = repository.absolute()
        self.log = log
        self.gpu = gpu
        self.response_cache = response_cache
        self.auto_complete = auto_complete
        self.client_memory = client_memory
        self.http_port = 0
        self.grpc_port = 0
        self.metrics_port = 0
        self.version = ""
        self.backend_version: str | None = None
        self.execution_provider: str | None = None
        self.provider_options: dict[str, str] | None = None
        self.name = ""
        """Of this life of the server: what it leaves anywhere begins with it."""
        self._asked_ports = (http_port, grpc_port, metrics_port)
        self._running: Running | None = None
        self._failure: str | None = None
        self._served: tuple[ModelArtifact, ServerSettings] | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Find what the server needs, before each start. Raises HarnessError where something is missing."""

    @abstractmethod
    def command_line(self) -> list[str]:
        """What starts it, for the ports and the name of this life."""

    @abstractmethod
    def launch(self) -> Running:
        """Start the command. Raises ServerError where that can't be."""

    def settings_there(self, settings: ServerSettings) -> ServerSettings:
        """The settings as the server must be told them: where it sees other GPUs, they are other numbers."""
        return settings

    def served_by(self, model: str, since: int) -> tuple[str, str | None]:
        """What serves `model`, in words, and its version; `since` is where in the log its load begins."""
        return implementation.found(self.log, since, model, self.process_ids())

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def control(self) -> Control:
        return Control(self.host, self.http_port)

    @property
    def command(self) -> tuple[str, ...] | None:
        return None if self._running is None else self._running.command

    def serve(self, artifact: ModelArtifact, settings: ServerSettings) -> str:
        if settings.response_cache and not self.response_cache:
            raise ServerError(
                "this server was started without a response cache: start it with response_cache"
            )
        self.execution_provider = self.provider_options = self._served = None
        control = self.control
        # A reload in place would keep the statistics, and an override made by load; unloading drops both.
        for loaded in {m["name"] for m in control.repository_index() if m.get("state") in BUSY}:
            control.unload(loaded)
        since = process.size(self.log)
        # Two harnesses may share a repository: neither may load what the other has just written.
        with lock(f"repository-{sha256(str(self.repository).encode()).hexdigest()[:16]}"):
            name = write_model(self.repository, artifact, self.settings_there(settings), gpu=self.gpu)
            self._load(control, name)
        self.backend, self.backend_version = self.served_by(name, since)
        if settings.cuda_graph and self.backend != implementation.PYTHON:
            raise InputError(
                f"server.cuda_graph can't be had from {self.backend}, which would compute without: "
                "leave it out, or measure it in the embedded server"
            )
        provider, options = provider_of(control.model_config(name))
        self.execution_provider, self.provider_options = provider, options if provider else None
        self._served = (artifact, settings)
        return name

    def _load(self, control: Control, name: str) -> None:
        try:
            control.load(name)
        except ServerError as error:
            if self.exit_reason() is not None:
                raise ServerError(f"Triton went away while it loaded {name}: {self.exit_reason()}") from error
            raise ServerError(
                f"Triton refused {name}: {error}; see {self.repository / name / 'config.pbtxt'}"
            ) from error

    def statistics(self, model: str, *, settled: bool = True) -> Statistics:
        return statistics.read(self.control, model, settled=settled)

    def exit_reason(self) -> str | None:
        if self._failure is None and self._running is not None:
            self._failure = self._running.exit_reason()
        return self._failure

    def healthy(self) -> bool:
        if self._running is None or self.exit_reason() is not None:
            return False
        if any(self.control.live(PROBE_LIMIT_S) or self.exit_reason() for _ in range(PROBES)):
            return self.exit_reason() is None
        self._failure = (
            f"Triton's process was alive but did not answer {PROBES} health probes of {PROBE_LIMIT_S:g} s, "
            "so it was killed"
        )
        self._running.end(grace_s=0)
        return False

    def restart(self) -> None:
        served = self._served
        self._stop()
        self._start()
        if served is not None:
            self.serve(*served)

    def process_ids(self) -> list[int]:
        return [] if self._running is None else self._running.process_ids()

    def _start(self) -> None:
        self.prepare()
        self.repository.mkdir(parents=True, exist_ok=True)
        shared_memory.sweep_dead()
        for attempts_left in reversed(range(START_ATTEMPTS)):
            since = process.size(self.log)
            try:
                self._launch()
                return
            except ServerError as error:
                if f"unrecognized option '{CLIENT_MEMORY}" in process.said(self.log, since):
                    self.client_memory = False
                elif not any(said in str(error) for said in _PORT_TAKEN) or not attempts_left:
                    raise

    def _launch(self) -> None:
        http, grpc, metrics = self._asked_ports
        self.http_port = process.choose_port(http, self.http_port, "http", self.host)
        self.grpc_port = process.choose_port(grpc, self.grpc_port, "grpc", self.host)
        self.metrics_port = process.choose_port(metrics, self.metrics_port, "metrics", self.host)
        self.name = ownership.new_name()
        self._failure = None
        self._running = self.launch()
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise

    def _wait_until_ready(self) -> None:
        give_up = time.monotonic() + self.start_limit_s
        while not self.control.ready(PROBE_LIMIT_S):
            if reason := self.exit_reason():
                raise ServerError(f"{reason}, instead of starting; its log is {self.log}")
            if time.monotonic() > give_up:
                raise ServerError(
                    f"Triton was not ready after {self.start_limit_s:g} s: see its log {self.log}"
                )
            time.sleep(0.02)
        self.version = self.control.server_metadata()["version"]

    def _stop(self) -> None:
        if self._running is None:
            return
        self._running.end(grace_s=0 if self._failure else STOP_LIMIT_S)
        self._running = None
        self.execution_provider = self.provider_options = None
        shared_memory.sweep(self.name)

    def arguments(
        self, repository: str, host: str, ports: tuple[int, int, int], caches: str | None = None
    ) -> list[str]:
        """tritonserver's own arguments in every mode; its folders and addresses are as it sees them."""
        http, grpc, metrics = ports
        given = [
            f"--model-repository={repository}",
            "--model-control-mode=explicit",
            f"--backend-config=python,shm-region-prefix-name={self.name}",
            f"--http-address={host}",
            f"--http-port={http}",
            f"--grpc-address={host}",
            f"--grpc-port={grpc}",
            f"--metrics-address={host}",
            f"--metrics-port={metrics}",
            f"--allow-gpu-metrics={'true' if self.gpu else 'false'}",
            "--exit-timeout-secs=5",
        ]
        if not self.auto_complete:
            given.append("--disable-auto-complete-config")
        if self.client_memory:
            given.append(f"{CLIENT_MEMORY}=true")
        if self.response_cache:
            if caches is not None:
                given.append(f"--cache-directory={caches}")
            given.append("--cache-config=local,size=67108864")
        return given
