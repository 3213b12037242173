"""A Triton that harness starts itself, in whichever way: its ports, its model, its health, its end."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from harness import ownership
from harness.address import LOOPBACK, Address
from harness.schema.errors import HarnessError, InputError, ModelRefused, ServerError
from harness.schema.model import Model, ModelArtifact
from harness.schema.point import ServerSettings
from harness.schema.scenario import SharedMemory
from harness.schema.served_model import Served, ServedModel
from harness.triton import (
    access,
    as_loaded,
    implementation,
    leftovers,
    process,
    server_folder,
    statistics,
)
from harness.triton.access import Access
from harness.triton.control import Control, plain
from harness.triton.described import described
from harness.triton.provider import provider_of
from harness.triton.repository import CONFIG, write_model
from harness.triton.server_folder import Entry, ServerFolder
from harness.triton.statistics import Statistics
from harness.triton.their_repository import TheirRepository
from harness.triton.way import Way

START_ATTEMPTS = 3
LOAD_LIMIT_S = 600.0
"""For its models, beyond what the server itself needs: TensorRT builds an engine in minutes."""
PROBES = 3
PROBE_LIMIT_S = 2.0
END_LIMIT_S = 15.0
"""For a server that somebody else told to stop: it waits for its clients, then ends its model instances."""
LOOK_S = 0.05

CUDA_ORDER = ("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
"""An environment variable that makes CUDA number the GPUs as NVML does; its default is the fastest first."""

CLIENT_MEMORY = "--allow-client-shm"
"""Newer servers take shared memory of clients only when told so (Triton's "Shared-Memory Extension")."""

_NOT_EVERYWHERE = (CLIENT_MEMORY, *access.OPTIONS)
"""Older servers do without these options, and don't start where they are given."""

_PORT_TAKEN = ("already in use", "already allocated")
"""What Triton and container engines say when somebody takes a port between our choice and their use."""

_OWN_ABORT = "boost::interprocess::lock_exception"
"""What Triton's Python backend (2.51) may end with while it starts a model instance, once in thousands."""


_OF_THE_MACHINE = re.compile(
    r"out of memory|bad_alloc|allocate|memory arena|shared memory|no space left|not healthy"
    r"|too many open files|CUDA (?:failure|error)|driver version",
    re.IGNORECASE,
)
"""What a refusal says that isn't the model's fault: the machine has too little of something."""


class Running(Protocol):
    """A server process that was started."""

    command: tuple[str, ...]

    def exit_reason(self) -> str | None:
        """Why it is gone, in words; None while it lives. Costs nothing."""

    def refused(self) -> tuple[str, str] | None:
        """The model for which it ended by itself, and what is wrong with that; None where it lives, or ended
        for another reason."""

    def process_ids(self) -> list[int]:
        """Its processes and those of its model instances; empty where they can't be seen."""

    def end(self) -> None:
        """Kill it, and wait until it is gone."""


class OwnServer(ABC):
    """A `Server` (harness.triton.server) of our own, at most until the end of its `with`.

    A fresh process serves each configuration, and what it serves can't be changed: Triton's repository API
    runs the code that it is sent, so ours is started without (`--model-control-mode=none`), and other
    interfaces that clients have no business with are closed to all but harness (harness.triton.access).

    A mode from outside of harness (`harness.triton.modes`) is such a class too, with its own `prepare`,
    `command_line` and `launch`.

    `repository`: folder that `serve` writes its entry to, to be read by users; the server has a copy of its
    own. `theirs`: a repository of the user's, for models that nobody exports. `log`: file that the server's
    output is appended to. `gpu`: what `kind: auto` means. `auto_complete`: fill in what an entry leaves out;
    of an export nothing is left out, and it costs a second of each start.
    `shared_memory`: the most over which clients will send tensors. A port of 0 means any free one, the same
    for every process where it stays free; `host` is an IPv4 address to listen on. The server is killed with
    the thread that started it.

    Raises HarnessError where such a server can't run.
    """

    mode: ClassVar[str]
    """What `--server` calls it."""
    computes_here: ClassVar[bool] = False
    """Whether this environment's ONNX Runtime computes the model."""
    child_of_ours: ClassVar[bool] = True
    """Whether it is started as a process of ours, within our limits."""
    lacks: ClassVar[frozenset[str]] = frozenset()
    """Options that this Triton is known to be too old for."""
    start_limit_s: ClassVar[float]
    backend: str = implementation.UNKNOWN
    image: str | None = None
    loaded: ServerSettings | None = None
    outputs: frozenset[str] | None = None

    def __init__(
        self,
        repository: Path,
        log: Path,
        *,
        gpu: bool = False,
        response_cache: bool = False,
        auto_complete: bool = False,
        shared_memory: SharedMemory = "none",
        http_port: int = 0,
        grpc_port: int = 0,
        metrics_port: int = 0,
        host: str = LOOPBACK,
        theirs: TheirRepository | None = None,
    ) -> None:
        self.host = host
        self.theirs = theirs
        self.repository = repository.absolute()
        self.log = log
        self.gpu = gpu
        self.response_cache = response_cache
        self.auto_complete = auto_complete
        self.shared_memory = shared_memory
        self.http_port = 0
        self.grpc_port = 0
        self.metrics_port = 0
        self.version = ""
        self.backend_version: str | None = None
        self.execution_provider: str | None = None
        self.provider_options: dict[str, str] | None = None
        self.settings: ServerSettings | None = None
        """What it serves a model in; None before that, and for entries of others."""
        self.name = ""
        """The name of this life of the server: what it leaves anywhere begins with it."""
        self._asked_ports = (http_port, grpc_port, metrics_port)
        self._running: Running | None = None
        self._since = 0
        """Where in the log this life of the server begins."""
        self._failure: str | None = None
        self._access = Access()
        self._folder: ServerFolder | None = None
        self._linked: tuple[str, Mapping[str, Any] | None] | None = None
        """Which model of theirs runs with which configuration in place of its own; "" and None: none does."""
        self._entries: tuple[Entry, ...] = ()
        self._unknown = set(self.lacks)
        """Options that this Triton is too old for."""

    @classmethod
    def configured(cls, options: Mapping[str, str]) -> Callable[..., OwnServer]:
        """What makes such a server, given options that only some modes have. Raises InputError."""
        for name in options:
            raise InputError(f"--{name.replace('_', '-')} is of a container: give --server docker too")
        return cls

    @abstractmethod
    def prepare(self) -> None:
        """Find what the server needs, before its first start. Raises HarnessError where it is missing."""

    @abstractmethod
    def command_line(self, folder: ServerFolder) -> list[str]:
        """What starts it, for the ports, the name and the folder of this life; its secret isn't shown."""

    @abstractmethod
    def launch(self, folder: ServerFolder, hidden: Mapping[str, str]) -> Running:
        """Start the command, with what is hidden in place of some arguments. Raises ServerError where that
        can't be."""

    def settings_there(self, settings: ServerSettings) -> ServerSettings:
        """The settings as the server must be told them: where it sees other GPUs, they are other numbers."""
        return settings

    def served_by(self, model: str, since: int) -> tuple[str, str | None]:
        """What serves `model`, in words, and its version; `since` is where in the log its load begins."""
        return implementation.found(self.log, since, model, self.process_ids())

    def __enter__(self) -> Self:
        self.prepare()
        try:
            if self.theirs is None:
                self.repository.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HarnessError(
                f"the model repository {self.repository.absolute()} can't be made ({error.strerror}): give "
                "--repository a folder that you can write"
            ) from error
        leftovers.sweep_dead()
        server_folder.sweep_dead()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> Address:
        return Address(self.host, self.http_port)

    @property
    def way(self) -> Way:
        """For requests."""
        return Way(host=self.host, port=self.http_port)

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def replicas(self) -> tuple[Self]:
        return (self,)

    @property
    def control(self) -> Control:
        return Control(self.host, self.http_port, headers=self.access)

    @property
    def access(self) -> Mapping[str, str]:
        return self._access.headers

    @property
    def command(self) -> tuple[str, ...] | None:
        return None if self._running is None else self._running.command

    def describe(self, served: Served) -> ServedModel:
        """Raises HarnessError where the repository hasn't it, or the server doesn't serve it."""
        if self.theirs is None:
            raise InputError(f"{served} is nothing that harness exports: give --model-repository or --url")
        self.theirs.check_has(served.served)
        self._start_theirs(served.served, None)
        if not self.control.model_ready(served.served, served.version):
            raise InputError(
                f"the model repository {self.theirs.path} has {served.served}, and not its version "
                f"{served.version}"
            )
        source = f"the model repository {self.theirs.path}"
        return described(self.control, served, source=source, files=self.theirs.files)

    def _start_theirs(self, model: str, config: Mapping[str, Any] | None) -> None:
        """Serve their repository, `model` with this configuration in place of its own, if that isn't done."""
        assert self.theirs is not None, "whoever serves a model of theirs has described it"
        wanted = ("" if config is None else model, config)
        if self._linked != wanted or self.exit_reason() is not None:
            self.start(self.theirs.entry(model, config))
            self._linked = wanted

    def _serve_theirs(self, model: ServedModel, settings: ServerSettings) -> str:
        config = None
        if settings != ServerSettings.kept():
            config = as_loaded.with_settings(model.config, model, self.settings_there(settings))
        self._start_theirs(model.name, config)
        loaded = self.control.model_config(model.name, model.version)
        self.backend, self.backend_version = self.of_platform(model.platform), None
        self.loaded = as_loaded.settings_of(loaded)
        self.execution_provider, self.provider_options = as_loaded.computed_with(model, loaded)
        return model.name

    def of_platform(self, platform: str) -> str:
        """What computes a model of this platform here, in words."""
        return platform

    def serve(self, model: Model, settings: ServerSettings) -> str:
        self.settings, self.response_cache = settings, settings.response_cache is True
        if isinstance(model, ServedModel):
            return self._serve_theirs(model, settings)
        return self._serve_export(model, settings)

    def _serve_export(self, artifact: ModelArtifact, settings: ServerSettings) -> str:
        self.loaded = None
        there = self.settings_there(settings)

        def entry(repository: Path) -> str:
            return write_model(repository, artifact, there, gpu=self.gpu)

        name, since = entry(self.repository), process.size(self.log)
        self.start(entry)
        self.backend, self.backend_version = self.served_by(name, since)
        if settings.cuda_graph and self.backend != implementation.PYTHON:
            raise InputError(
                f"server.cuda_graph can't be had from {self.backend}, which would compute without: "
                "leave it out, or measure it in the embedded server"
            )
        provider, options = provider_of(self.control.model_config(name))
        self.execution_provider, self.provider_options = provider, options if provider else None
        return name

    def start(self, *entries: Entry) -> None:
        """A fresh process that serves these models and no others. The one before is ended first.

        Raises ServerError, with Triton's own reason, where it doesn't start or refuses one of them.
        """
        self.stop()
        self._entries, self._linked = entries, None
        tries_lost = 0
        while True:
            since = process.size(self.log)
            try:
                self._launch()
                return
            except ServerError as error:
                said = process.said(self.log, since)
                unknown = {o for o in _NOT_EVERYWHERE if f"unrecognized option '{o}" in said} - self._unknown
                self._unknown |= unknown
                by_chance = any(taken in str(error) for taken in _PORT_TAKEN) or _OWN_ABORT in said
                tries_lost += by_chance
                if not unknown and not (by_chance and tries_lost < START_ATTEMPTS):
                    raise

    def statistics(self, model: str, *, version: int | None = None, settled: bool = True) -> Statistics:
        return statistics.read(self.control, model, version=version, settled=settled)

    def exit_reason(self) -> str | None:
        if self._failure is None and self._running is not None:
            self._failure = self._running.exit_reason()
        return self._failure

    def healthy(self) -> bool:
        if self._running is None or self.exit_reason() is not None:
            return False
        if any(self._answers() or self.exit_reason() for _ in range(PROBES)):
            return self.exit_reason() is None
        silent = f"did not answer {PROBES} health probes of {PROBE_LIMIT_S:g} s"
        if (told := process.told_to_stop(self.log, self._since)) is not None:
            if self._ends_within(END_LIMIT_S):
                return False
            silent = f"was told to stop ({told}) and did not within {END_LIMIT_S:g} s"
        self._failure = f"Triton's process was alive but {silent}, so it was killed"
        self._running.end()
        return False

    def _answers(self) -> bool:
        """A server that refuses connections may be about to end: it has as long as one that is silent."""
        began = time.monotonic()
        if self.control.live(PROBE_LIMIT_S):
            return True
        self._ends_within(PROBE_LIMIT_S - (time.monotonic() - began))
        return False

    def _ends_within(self, limit_s: float) -> bool:
        give_up = time.monotonic() + limit_s
        while self.exit_reason() is None and time.monotonic() < give_up:
            time.sleep(LOOK_S)
        return self.exit_reason() is not None

    def restart(self) -> None:
        provider, options = self.execution_provider, self.provider_options
        self.start(*self._entries)
        self.execution_provider, self.provider_options = provider, options

    def process_ids(self) -> list[int]:
        return [] if self._running is None else self._running.process_ids()

    def _launch(self) -> None:
        last = self.http_port, self.grpc_port, self.metrics_port
        ports = process.choose_ports(self._asked_ports, last, self.host)
        self.http_port, self.grpc_port, self.metrics_port = ports
        self.name, self._access = ownership.new_name("triton"), Access()
        self._failure = None
        self._since = process.size(self.log)
        self._folder = ServerFolder.of(self.name)
        try:
            self._folder.make(self._entries)
            shown = self.command_line(self._folder)
            hidden = {given: real for given, real in self._access.hidden.items() if given in shown}
            self._running = self.launch(self._folder, hidden)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> None:
        """Until it answers, which it does once it has loaded its models."""
        limit_s = self.start_limit_s + LOAD_LIMIT_S
        give_up = time.monotonic() + limit_s
        while not self.control.ready(PROBE_LIMIT_S):
            if reason := self.exit_reason():
                raise self._not_started(reason)
            if (reason := process.instance_failure(self.log, self._since)) is not None:
                raise ServerError(f"Triton can't start a model instance: {reason}; its log is {self.log}")
            if time.monotonic() > give_up:
                raise ServerError(f"Triton was not ready after {limit_s:g} s: see its log {self.log}")
            time.sleep(0.02)
        self.version = self.control.server_metadata()["version"]

    def _not_started(self, reason: str) -> ServerError:
        if self._running is not None and (refused := self._running.refused()) is not None:
            name, why = refused
            fault = ServerError if _OF_THE_MACHINE.search(why) else ModelRefused
            config = (self.repository if self.theirs is None else self.theirs.path) / name / CONFIG
            return fault(f"Triton refused {name}: {plain(why)}; see {config}")
        return ServerError(f"{reason}, instead of starting; its log is {self.log}")

    def stop(self) -> None:
        """It is killed: it has nothing to save, and takes three seconds to end in its own way."""
        if self._running is not None:
            self._running.end()
            self._running = None
            leftovers.sweep(self.name)
        if self._folder is not None:
            self._folder.remove()
            self._folder = None
        self.execution_provider = self.provider_options = None

    def arguments(
        self, repository: str, host: str, ports: process.Ports, caches: str | None = None
    ) -> list[str]:
        """tritonserver's own arguments in every mode; its folders and addresses are as it sees them."""
        http, grpc, metrics = ports
        given = [
            f"--model-repository={repository}",
            "--model-control-mode=none",
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
        if not self.auto_complete and self.theirs is None:
            given.append("--disable-auto-complete-config")
        if self.shared_memory != "none":
            given.append(f"{CLIENT_MEMORY}=true")
        if self.response_cache:
            if caches is not None:
                given.append(f"--cache-directory={caches}")
            given.append("--cache-config=local,size=67108864")
        given += self._access.arguments
        return [argument for argument in given if argument.partition("=")[0] not in self._unknown]
