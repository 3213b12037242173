"""What is measured with: the server, the machines that send the load, and how the GPUs are seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from harness import headers
from harness.address import is_loopback, of_option, reachable
from harness.descriptors import check_fits
from harness.load.coordinator.load_processes import LOCUST_PORT, checked_address
from harness.load.job import check_memory
from harness.measurement.observer import Nobody, Observer
from harness.measurement.session import Session
from harness.measurement.target import EMBEDDED, ServerTarget, open_to_others, spread_over, tls, unused_proxy
from harness.probe.nvidia.vendor import cuda_unavailable
from harness.probe.watch.gpu_source import GpuSource
from harness.schema.errors import InputError
from harness.schema.point import Point
from harness.schema.scenario import SharedMemory

SHARED: tuple[SharedMemory, ...] = get_args(SharedMemory)
"""Each asks more of a server than those before it."""


@dataclass(frozen=True, slots=True)
class Testbed:
    """A server as it is to run, and what is beside it. Nothing of it lives before `session`."""

    target: ServerTarget = field(default=EMBEDDED)
    listen: tuple[str, int] | None = None
    """Where load processes of other machines are awaited; None: all of them are started here."""
    gpu_source: GpuSource | None = None
    """How the GPUs of a server on another machine are seen."""

    @classmethod
    def of(
        cls,
        *,
        server: str | None = None,
        image: str | None = None,
        shm_size: str | None = None,
        network: str | None = None,
        url: str | None = None,
        grpc_port: int | None = None,
        grpc_tls: bool = False,
        grpc_ca: str | Path | None = None,
        grpc_cert: str | Path | None = None,
        grpc_key: str | Path | None = None,
        http_ca: str | Path | None = None,
        http_cert: str | Path | None = None,
        http_key: str | Path | None = None,
        header_file: str | Path | None = None,
        listen: str | None = None,
        host: str | None = None,
        repository: str | Path | None = None,
        model_repository: str | Path | None = None,
        probe: str | None = None,
        metrics_url: str | None = None,
    ) -> Testbed:
        """Made of the options of `harness run` of the same names. Raises InputError for those that don't go
        together."""
        of_grpc, of_http = (
            tuple(None if file is None else Path(file) for file in files)
            for files in ((grpc_ca, grpc_cert, grpc_key), (http_ca, http_cert, http_key))
        )
        if header_file is not None:
            if url is None:
                raise InputError("--header-file is of a Triton that is already running: give its --url too")
            headers.read(Path(header_file))
        target = ServerTarget.of(
            server,
            host=host,
            repository=None if repository is None else Path(repository),
            model_repository=None if model_repository is None else Path(model_repository),
            url=url,
            grpc_port=grpc_port,
            tls=tls(of_grpc, wanted=grpc_tls),
            http_tls=tls(of_http, "http/1.1"),
            with_headers=bool(headers.given()),
            image=image,
            shm_size=shm_size,
            network=network,
        )
        awaited = None if listen is None else _awaited(listen, target)
        return cls(target, awaited, GpuSource.of(probe, metrics_url, url=url))

    def check(self, name: str, points: Sequence[Point]) -> None:
        """Rather now than after the export: raises HarnessError where points of the scenario `name` can't be
        measured."""
        if self.gpu_source is not None:
            self.gpu_source.gpus()
        if self.listen is not None and any(point.shared_memory != "none" for point in points):
            raise InputError(
                "shared memory ends at the machine: leave out --listen, or set shared_memory to none"
            )
        if self.listen is not None and any(k.sequence is not None for p in points for k in p.requests):
            raise InputError(
                "sequences of load processes on other machines aren't brought here: leave out --listen"
            )
        if self.target.starts and any(point.server.kind == "gpu" for point in points):
            _check_gpu(name)
        check_memory(points)
        check_fits(points, load_here=self.listen is None, server_here=self.target.is_child_of_ours)
        self.target.check()

    @contextmanager
    def session(
        self, log: Path, observer: Observer | None = None, *, shared_memory: SharedMemory = "none"
    ) -> Iterator[Session]:
        """A live server and a session on it, for the time of the block. Raises HarnessError.

        `log` gets the server's output. `shared_memory`: the most that a point will ask for. The observer is
        told who else may reach the server, and what of the way there may surprise.
        """
        observer = observer or Nobody()
        with (
            self.target.server(log, shared_memory=shared_memory, say=observer.say) as server,
            Session(server, observer, self.target.tls, self.listen, self.gpu_source) as session,
        ):
            for notice in (
                spread_over(server),
                unused_proxy(server),
                self.target.open_to_the_network(),
                open_to_others(server),
            ):
                if notice is not None:
                    observer.say(notice)
            yield session


def most_shared(points: Iterable[Point]) -> SharedMemory:
    """The memory that asks most of a server, of all that these points ask for."""
    return max((point.shared_memory for point in points), key=SHARED.index, default="none")


def _check_gpu(name: str) -> None:
    if (why := cuda_unavailable()) is not None:
        raise InputError(
            f"{name} asks for a GPU (server.kind: gpu), and there is none here ({why}): run it on a "
            "machine with one, or see how it would go with --set server.kind=cpu"
        )


def _awaited(listen: str, target: ServerTarget) -> tuple[str, int]:
    """Where load processes of other machines are awaited. Raises InputError where they would come in vain."""
    host, port = checked_address(*of_option("--listen", listen, LOCUST_PORT))
    for server in (target.host,) if target.running is None else target.running.hosts:
        if not is_loopback(host) and (is_loopback(server) or server != reachable(server)):
            remedy = "--host" if target.starts else "--url"
            raise InputError(
                f"load processes of other machines can't reach a server at {server}: give this run {remedy} "
                "with an address of this machine that they reach"
            )
    return host, port
