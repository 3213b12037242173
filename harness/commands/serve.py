"""`harness serve`: a model behind a Triton of our own, until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.commands.export import export_model
from harness.commands.progress import Progress
from harness.measurement.target import EMBEDDED, ServerTarget
from harness.schema.errors import ServerError
from harness.schema.frozen import Frozen
from harness.schema.point import ServerSettings
from harness.schema.scenario import Dtype
from harness.triton.server import Server

CHECK_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be served, and at which ports; 0 means any free one."""

    model: str
    dtype: Dtype | None
    settings: ServerSettings
    http_port: int = 0
    grpc_port: int = 0


class Serving(Frozen):
    """Where the model can be reached."""

    model: str
    http: str
    grpc: str
    metrics: str
    repository: str
    backend: str
    execution_provider: str | None


def settings(max_batch: int, queue_delay_us: int, instances: int, threads: int) -> ServerSettings:
    return ServerSettings(
        max_batch=max_batch,
        queue_delay_us=queue_delay_us,
        instances=instances,
        threads=threads,
        kind="auto",
        response_cache=False,
    )


@contextmanager
def serving(
    wanted: Wanted, base_dir: Path, progress: Progress, target: ServerTarget = EMBEDDED
) -> Iterator[tuple[Serving, Server]]:
    """A model that is ready to be asked, for the time of the block. Raises HarnessError."""
    target.check()
    artifact = export_model(wanted.model, base_dir, progress, wanted.dtype)
    log = target.repository / "server.log"
    with target.server(log, http_port=wanted.http_port, grpc_port=wanted.grpc_port) as server:
        name = server.serve(artifact, wanted.settings)
        yield (
            Serving(
                model=name,
                http=f"http://{server.address}",
                grpc=f"{server.host}:{server.grpc_port}",
                metrics=f"http://{server.host}:{server.metrics_port}/metrics",
                repository=str(target.repository.absolute()),
                backend=server.backend,
                execution_provider=server.execution_provider,
            ),
            server,
        )


def serve(
    wanted: Wanted,
    base_dir: Path,
    target: ServerTarget,
    for_s: float | None,
    tell: Callable[[Serving], None] | None,
) -> None:
    """Serve until Ctrl-C, SIGTERM or `for_s` seconds. Raises ServerError when Triton goes away by itself."""
    progress = Progress()
    with serving(wanted, base_dir, progress, target) as (at, server):
        if tell is not None:
            tell(at)
        progress.say(f"{at.model} is ready at {at.http} and {at.grpc} (gRPC), metrics at {at.metrics}")
        if (notice := target.open_to_the_network()) is not None:
            progress.say(notice)
        progress.say("Ctrl-C stops it")
        began = time.monotonic()
        try:
            while for_s is None or time.monotonic() - began < for_s:
                if (reason := server.exit_reason()) is not None:
                    raise ServerError(f"{reason}; its log is {target.repository.absolute() / 'server.log'}")
                time.sleep(CHECK_INTERVAL_S)
        except KeyboardInterrupt:
            progress.say("stopping")
