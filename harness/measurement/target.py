"""Which Triton is measured: one that is started here in one of its modes, or one that runs at an address."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.address import LOOPBACK, host_of, is_loopback, numbers_of
from harness.probe.execution_providers import execution_providers
from harness.probe.nvidia.vendor import cuda_unavailable
from harness.schema.errors import InputError
from harness.schema.scenario import SharedMemory
from harness.schema.served_model import Served
from harness.tls import Tls, context_of
from harness.triton.modes import DEFAULT, server_modes
from harness.triton.own import OwnServer
from harness.triton.remote import RemoteServer
from harness.triton.replicas import Replicas
from harness.triton.server import Server
from harness.triton.their_repository import TheirRepository

PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
"""Variables by which other clients are led to a proxy."""

MODEL_REPOSITORY = Path("model_repo")
"""Unless told otherwise. Relative to the folder harness is started in, as scenarios/ and results/ are."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A Triton that runs elsewhere, or here and isn't ours."""

    url: str
    """Or those of several replicas, with commas between them."""
    grpc_port: int | None = None
    tls: Tls | None = None
    """How its gRPC endpoint speaks TLS."""
    http_tls: Tls | None = None
    """Whom to trust where its address is https; None: the system's CAs."""
    with_headers: bool = False
    """Whether the user's own headers go with each request."""

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(host_of(url) for url in self.urls)

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(url.strip() for url in self.url.split(","))

    def open(self, say: Callable[[str], None] = lambda _: None) -> RemoteServer | Replicas:
        """One server, or all that are named and all numbers of their names. `say` is told what harness
        changes there."""
        found = [
            RemoteServer(
                url,
                at=at,
                grpc_port=self.grpc_port,
                tls=self.http_tls,
                with_headers=self.with_headers,
                say=say,
            )
            for url in self.urls
            for at in _numbers(url)
        ]
        if len(found) == 1:
            return found[0]
        if len({each.way.words for each in found}) < len(found):
            raise InputError(f"--url {self.url} names a server twice: name each replica once")
        return Replicas(found)


@dataclass(frozen=True, slots=True)
class ServerTarget:
    """How Triton is to run."""

    mode: type[OwnServer] = DEFAULT
    """How it is started, where it isn't `running`."""
    make: Callable[..., OwnServer] = field(default=DEFAULT, repr=False)
    """The mode with its options."""
    running: RunningServer | None = None
    host: str = LOOPBACK
    """The address of this machine that a server started here listens on."""
    repository: Path = MODEL_REPOSITORY
    """Where the model repository of a server started here is written, for the user."""
    theirs: TheirRepository | None = None
    """A repository of the user's, which a server started here serves."""

    @classmethod
    def of(
        cls,
        server: str | None = None,
        *,
        host: str | None = None,
        url: str | None = None,
        grpc_port: int | None = None,
        tls: Tls | None = None,
        http_tls: Tls | None = None,
        with_headers: bool = False,
        repository: Path | None = None,
        model_repository: Path | None = None,
        **options: str | None,
    ) -> ServerTarget:
        """Made of the options of the same names, those that only some modes have among them.

        Raises InputError for those that don't go together.
        """
        if (tls is not None or http_tls is not None) and url is None:
            raise InputError("TLS is of a Triton that is already running: give its --url too")
        modes = server_modes()
        if server is not None and server not in modes:
            raise InputError(f"--server {server} is none of {', '.join(modes)}; one that runs is --url")
        if url is not None and server is not None:
            raise InputError("--server starts a Triton and --url names one that runs: give one of them")
        if url is not None and repository is not None:
            raise InputError("--repository is of a Triton that harness starts and --url names one that runs")
        if url is not None and model_repository is not None:
            raise InputError(
                "--model-repository is served by a Triton that harness starts and --url names one that runs: "
                "give one of them"
            )
        if url is not None and host is not None:
            raise InputError("--host is of a Triton that harness starts and --url names one that runs")
        mode = modes[server] if server is not None else DEFAULT
        make = mode.configured({name: value for name, value in options.items() if value is not None})
        running = None if url is None else RunningServer(url, grpc_port, tls, http_tls, with_headers)
        theirs = None if model_repository is None else TheirRepository.at(model_repository)
        return cls(mode, make, running, host or LOOPBACK, repository or MODEL_REPOSITORY, theirs)

    @property
    def tls(self) -> Tls | None:
        return None if self.running is None else self.running.tls

    @property
    def starts(self) -> bool:
        """Whether the server is our own."""
        return self.running is None

    @property
    def is_child_of_ours(self) -> bool:
        """Whether the server will run within the limits of this process."""
        return self.starts and self.mode.child_of_ours

    @contextmanager
    def server(
        self,
        log: Path,
        *,
        shared_memory: SharedMemory = "none",
        http_port: int = 0,
        grpc_port: int = 0,
        say: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Server]:
        """A live server for the time of the block, ours or the running one, that serves nothing yet.

        `shared_memory`: the most that clients will ask of it. `say` is told what of a running one harness
        changes. Raises HarnessError.
        """
        if self.running is not None:
            with self.running.open(say) as remote:
                yield remote
            return
        with self.make(
            self.repository,
            log,
            gpu=self.gpu_usable,
            shared_memory=shared_memory,
            http_port=http_port,
            grpc_port=grpc_port,
            host=self.host,
            theirs=self.theirs,
        ) as own:
            yield own

    def check_has_models(self, served: Served) -> None:
        """Raises InputError for a server of ours that has nothing but what is exported."""
        if self.running is None and self.theirs is None:
            raise InputError(
                f"{served} is a model that a server has: name the server with --url, or the folder that it "
                "is in with --model-repository"
            )

    def check(self) -> None:
        """Raises HarnessError where Triton can't run in this way or doesn't answer, before much is done."""
        if self.running is not None:
            with self.running.open():
                return
        self.make(self.repository, Path(os.devnull), theirs=self.theirs).prepare()

    @property
    def gpu_usable(self) -> bool:
        """Whether `kind: auto` means a GPU for a server that is started here: one that can be read and, where
        this environment's ONNX Runtime serves, one that it can compute on."""
        if cuda_unavailable() is not None:
            return False
        if not self.mode.computes_here:
            return True
        return any(p.name == "CUDAExecutionProvider" and p.usable for p in execution_providers())

    def open_to_the_network(self) -> str | None:
        """What to tell of a server that other machines reach; None for one that only this machine does."""
        if self.running is not None or is_loopback(self.host):
            return None
        return (
            f"whoever reaches {self.host} can send it requests and read its statistics, without a password, "
            "but not load models into it (docs/threats.md)"
        )


def _numbers(url: str) -> Sequence[str | None]:
    """Where a name has several addresses, each of them; else the name will do."""
    numbers = numbers_of(host_of(url))
    return numbers if len(numbers) > 1 else (None,)


EMBEDDED = ServerTarget()


def tls(files: Sequence[Path | None], protocol: str = "h2", *, wanted: bool = False) -> Tls | None:
    """TLS with these files: a CA's, a client's certificate and its key. Any of them asks for it. Raises
    InputError for those that can't be used with `protocol`."""
    if not wanted and not any(files):
        return None
    # Absolute, because the load process runs in a folder of its own.
    ca, certificate, key = (None if file is None else str(file.absolute()) for file in files)
    found = Tls(ca=ca, certificate=certificate, key=key)
    context_of(found, protocol)
    return found


def spread_over(server: Server) -> str | None:
    """That the load goes to several; None where it goes to one."""
    where = [each.way.words for each in server.replicas]
    if len(where) == 1:
        return None
    return f"{len(where)} replicas get as much of the load each: {', '.join(where)}"


def unused_proxy(server: Server) -> str | None:
    """What would lead other clients to a proxy; None where nothing does, or the server is our own."""
    found = next((name for name in PROXIES if os.environ.get(name)), None)
    if found is None or server.mode != "remote":
        return None
    return f"{found} is set, and not heeded: what is measured is the server that --url names"


def open_to_others(server: Server) -> str | None:
    """What to tell of somebody's server that takes more than requests from anybody; None of any other."""
    if not isinstance(server, RemoteServer | Replicas) or not (found := server.open_interfaces()):
        return None
    runs = ", which runs their code there" if "load models" in found else ""
    return (
        f"whoever reaches the Triton at {server.address} can {', '.join(found)}{runs}: "
        "docs/threats.md says how it is closed"
    )
