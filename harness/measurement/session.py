"""A live server, and points that are measured on it, one after another as a caller decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.address import is_here, is_unix
from harness.analysis.precision import enough as precise_enough
from harness.load.coordinator.fork_server import ForkServer
from harness.load.coordinator.stopping_rule import Enough
from harness.load.endpoint import Endpoint
from harness.load.job import Job
from harness.measurement.arms import Arm, Readings, Recorded, measured
from harness.measurement.first_answers import FirstAnswers
from harness.measurement.observer import Nobody, Observer
from harness.measurement.workload import Workload, workload
from harness.probe.environment import environment
from harness.probe.sampler import Sampler
from harness.probe.shared_sampler import SharedSampler
from harness.probe.watch.gpu_source import GpuSource, unseen
from harness.probe.watch.local_watch import local_watch
from harness.probe.watch.watch import Watch
from harness.schema.errors import InputError
from harness.schema.model import Model
from harness.schema.point import Point, ServerSettings
from harness.schema.result import Environment
from harness.schema.samples import HostReading
from harness.schema.scenario import Protocol
from harness.tls import Tls
from harness.triton.own import OwnServer
from harness.triton.server import Server
from harness.triton.server_folder import Entry


@dataclass(slots=True)
class Session:
    """Points on a live server, until the end of its `with`.

    The server is reconfigured only where a point needs another model or other settings than it serves, and
    started again where it has died. It lives no longer than the thread that had it serve.
    """

    server: Server
    observer: Observer = field(default_factory=Nobody)
    tls: Tls | None = None
    """How the server's gRPC endpoint speaks TLS."""
    listen: tuple[str, int] | None = None
    """Where load processes of other machines are awaited; None: all of them are started here."""
    gpu_source: GpuSource | None = None
    """How the GPUs of a server on another machine are seen."""
    at_once: bool = False
    """Whether several threads `send` at once: they share the readings of this machine, and see no GPU."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Once it is set, whatever is measured ends soon."""
    _served: tuple[Model, ServerSettings] | None = None
    _environment: Environment | None = None
    _workload: tuple[object, Workload] | None = None
    first_answers: FirstAnswers | None = None
    """To the payloads of what was made ready last."""
    fork_server: ForkServer | None = None
    """What starts load processes."""
    _shared: SharedSampler | None = None
    _entered: ExitStack = field(default_factory=ExitStack)
    _load_pids: set[int] = field(default_factory=set)
    """Processes of the load of every point that is measured now: to none of them they are foreign."""

    def __enter__(self) -> Session:
        with ExitStack() as entered:
            self.fork_server = entered.enter_context(ForkServer())
            if self.at_once:
                shared = SharedSampler(self.server.process_ids, lambda: tuple(self._load_pids))
                self._shared = entered.enter_context(shared)
            self._entered = entered.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._entered.close()

    # What is served.

    def serve(self, model: Model, settings: ServerSettings) -> None:
        """Have the server serve `model` in this configuration, if it doesn't already. Raises HarnessError."""
        if self._served != (model, settings):
            self._served = self._environment = None
            self.server.serve(model, settings)
            self._served = (model, settings)
        elif self.server.exit_reason() is not None or not self.server.healthy():
            self._environment = None  # its ports and its command are others then
            self.server.restart()

    def renew(self) -> None:
        """Have what is served next served by a fresh server, whatever it is."""
        self._served = self._environment = None

    def rest(self) -> None:
        """End a server of ours until something is served again: another may need its memory."""
        self.renew()
        if isinstance(self.server, OwnServer):
            self.server.stop()

    def check_batches(self, *points: Point) -> None:
        """Raise InputError where a point has requests of more than the served model takes at once."""
        most = None if self.server.loaded is None else self.server.loaded.max_batch
        for point in points:
            if not most or point.server.max_batch is not None:
                continue
            for kind in point.requests:
                if kind.batch > most:
                    raise InputError(
                        f"request class {kind.name!r} has batch {kind.batch}, and the model is loaded with "
                        f"max_batch_size {most} on the server at {self.server.address}: lower the batch, or "
                        "set server.max_batch, with which it is loaded anew"
                    )

    def serve_entries(self, *entries: Entry) -> None:
        """Have a server of ours serve these entries of a model repository. Raises HarnessError."""
        self._served = self._environment = None
        assert isinstance(self.server, OwnServer), "somebody else's server has its own models"
        self.server.start(*entries)

    @property
    def environment(self) -> Environment:
        """Where a point happens that is measured now. Something must be served."""
        if self._environment is None:
            server = self.server
            found = environment(
                server_mode=server.mode,
                server_url=server.url,
                triton_version=server.version,
                backend=server.backend,
                backend_version=server.backend_version,
                execution_provider=server.execution_provider,
                provider_options=server.provider_options,
                server_image=server.image,
                server_command=server.command,
            )
            if self.gpu_source is not None or not self.runs_here:
                gpus = self.gpu_source.gpus() if self.gpu_source is not None else ()
                found = found.model_copy(update={"gpus": gpus})
            self._environment = found
        return self._environment

    @property
    def runs_here(self) -> bool:
        """Whether the server is on this machine, so that the GPUs here are those that it uses."""
        return self.server.mode != "remote" or is_here(self.server.host)

    # What is measured.

    def measure(
        self,
        point: Point,
        model: Model,
        folder: Path,
        *,
        base_dir: Path,
        enough: Enough | None = None,
    ) -> Recorded:
        """Measure one point of `model`; its samples are in `folder` when this returns.

        `base_dir`: the folder that files which the point names are relative to. `enough` ends a steady load
        between `measure.duration_s` and `at_most_s`; left out, the precision that the point asks for.

        Raises InputError for what can't be sent, ServerError where the server doesn't serve it. Its death on
        the way is no exception, but stands in what was observed.
        """
        asked = self.ready(point, model, base_dir)
        return self.send(
            point, asked, folder, base_dir=base_dir, enough=enough, first_answers=self.first_answers
        )

    def ready(self, point: Point, model: Model, base_dir: Path) -> Workload:
        """Have the server serve what a point needs; what it is to be sent. Raises HarnessError."""
        self.serve(model, point.server)
        self.check_batches(point)
        what = (model.sha256, point.model, point.requests, point.seed, base_dir)
        if self._workload is None or self._workload[0] != what:
            self._workload = None  # two at once may be too large
            self._workload = (what, workload(point, model, base_dir))
            self.first_answers = FirstAnswers(
                model.tolerance,
                self._workload[1].answers,
                only_known=any(kind.sequence is not None for kind in point.requests),
            )
        asked, given = self._workload[1], self.server.outputs
        if given is not None:
            asked = replace(asked, outputs=[name for name in asked.outputs if name in given])
        return asked

    def send(
        self,
        point: Point,
        workload: Workload,
        folder: Path,
        *,
        base_dir: Path,
        enough: Enough | None = None,
        before_measuring: Callable[[], None] = lambda: None,
        first_answers: FirstAnswers | None = None,
    ) -> Recorded:
        """Measure one point on what is served; the rest is as in `measure`.

        `before_measuring` is called between warm-up and measurement, with nothing in flight. Some answers are
        compared with `first_answers`, which are those of the same workload.
        """
        arm = Arm(self, point, workload, folder, base_dir, first_answers)
        enough = enough or (lambda measured: precise_enough(point, measured))
        return measured((arm,), enough=enough, before_measuring=before_measuring)[0]

    def job(self, point: Point, workload: Workload, folder: Path, base_dir: Path) -> Job:
        """The load of a point on this server."""
        server = self.server
        if self.gpu_source is not None and len(server.replicas) > 1:
            raise InputError(
                f"--probe and --metrics-url read one machine, and the load goes to {len(server.replicas)} "
                "replicas: leave them out"
            )
        first, *others = [_endpoint(point, each, self.tls) for each in server.replicas]
        return Job(
            point=point,
            model=workload.model,
            payloads=workload.payloads,
            outputs=workload.outputs,
            version=_number(workload.version),
            streams=workload.streams,
            validated=bool(workload.answers),
            others={
                name: (model, _number(version), outputs)
                for name, (model, version, outputs) in workload.others.items()
            },
            endpoint=first,
            replicas=tuple(others),
            listen=self.listen,
            http_port=server.http_port,
            access=server.access,
            folder=folder / "load",
            base_dir=base_dir,
        )

    @contextmanager
    def load_pids(self) -> Iterator[Callable[[Sequence[int]], None]]:
        """Is told which processes send a load, for the time of the block."""
        pids: list[int] = []

        def on_started(started: Sequence[int]) -> None:
            pids.extend(started)
            self._load_pids.update(started)

        try:
            yield on_started
        finally:  # a number may be another process's next
            self._load_pids.difference_update(pids)

    def host_since(self, began_ns: int) -> list[HostReading]:
        """Readings of this machine since then, where they are shared."""
        assert self._shared is not None
        return self._shared.since(began_ns)

    def readings(self, spool: Path, servers: Sequence[Server]) -> Readings:
        """Readings of the machine with these servers, which are all where this one is."""
        if self._shared is not None:
            return self._shared.part()

        def process_ids() -> set[int]:
            return {pid for server in servers for pid in server.process_ids()}

        hidden = not process_ids() and self.runs_here
        return Sampler(
            process_ids,
            lambda: tuple(self._load_pids),
            server_hidden=hidden,
            watch=self._watch(spool),
        )

    def _watch(self, spool: Path) -> Watch:
        if self.gpu_source is not None:
            return self.gpu_source.watch(spool)
        return local_watch(spool) if self.runs_here else unseen()


def _number(version: int | None) -> str:
    return "" if version is None else str(version)


def _endpoint(point: Point, server: Server, grpc_tls: Tls | None) -> Endpoint:
    way = server.way
    return Endpoint(
        protocol=point.protocol,
        host=way.host,
        port=_port(server, point.protocol),
        at=way.at,
        timeout_s=point.measure.timeout_s,
        tls=grpc_tls if point.protocol == "grpc" else way.tls,
        prefix=way.prefix,
        with_headers=way.with_headers,
        compression=point.compression,
    )


def _port(server: Server, protocol: Protocol) -> int:
    if protocol == "http":
        return server.http_port
    if server.way.at is not None and is_unix(server.way.at):
        raise InputError(f"over the Unix socket {server.way.at} HTTP alone is spoken: set protocol to http")
    if server.grpc_port is None:
        raise InputError(
            f"the gRPC port of the server at {server.host} isn't known: give it with --grpc-port"
        )
    return server.grpc_port
