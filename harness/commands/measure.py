"""One point: fill the wire, watch the machine, ask Triton before and after, keep everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from harness.analysis.derive import derive
from harness.analysis.latency import requests_needed
from harness.commands.progress import Progress
from harness.load.driver import LoadOutcome, drive
from harness.load.recorder import read_spool
from harness.model.payloads import payloads
from harness.probe.environment import available_cores
from harness.probe.sampler import Sampler
from harness.schema.errors import InputError, ServerError
from harness.schema.model import ModelArtifact
from harness.schema.observed import Observed
from harness.schema.point import Point, PointClass
from harness.schema.result import LoadProcess, PointResult, ServerFigures
from harness.schema.samples import Measured
from harness.schema.scenario import Protocol
from harness.schema.tensors import Tensors
from harness.store import samples_file
from harness.store.run_folder import RunFolder
from harness.store.scenario_file import LoadedScenario
from harness.triton.server import Server
from harness.triton.statistics import Statistics, difference

VARIANTS = 32
"""Different payloads of a class, so that no cache on the way can make a request cheaper than a real one."""

VARIANTS_BYTES = 256_000_000
"""Most bytes of one class's payloads together; large images get fewer variants."""

SCRATCH = (".bin", ".npy", ".spool", ".reasons")
"""What the load needs while it runs, and nobody after its samples are in Parquet."""

MARGIN = 2.0
"""Requests asked for, over the fewest that can support a p99: correlated ones are worth less, and the
variance is itself an estimate."""


def measure(
    point: Point,
    *,
    model: ModelArtifact,
    server: Server,
    run: RunFolder,
    loaded: LoadedScenario,
    progress: Progress,
) -> PointResult:
    """Measure one point on a server that already serves it; everything is on disk when this returns."""
    folder = run.begin_point(point)
    started_at = _now()
    before: list[Statistics] = []
    load_pids: list[int] = []

    def between() -> None:
        before.append(server.statistics(model.name))

    with Sampler(server.process_ids, lambda: load_pids) as sampler:
        try:
            outcome = drive(
                point,
                model=model.name,
                payloads={kind.name: _variants(point, kind, loaded) for kind in point.requests},
                outputs=[output.name for output in model.outputs],
                host=server.host,
                port=_port(server, point.protocol),
                folder=folder / "load",
                base_dir=loaded.folder,
                min_requests=int(requests_needed(0.99) * MARGIN),
                between=between,
                alive=_watch(server),
                on_started=load_pids.append,
                on_progress=lambda p: progress.load(p.phase, p.elapsed_s, p.succeeded, p.failed),
            )
        except ServerError as error:  # between the phases, the server was gone
            outcome = LoadOutcome(folder / "load", None, str(error), None, None, None)
        # A server that died in the last moment is seen by nobody but us.
        ended = outcome.ended or server.exit_reason()
        figures, problems = _server_figures(server, model.name, before) if ended is None else (None, ())
    observed = Observed(
        started_at=started_at,
        finished_at=_now(),
        window_ns=(outcome.window.start_ns, outcome.window.end_ns) if outcome.window else None,
        ended=ended,
        stopped_by="duration" if outcome.window else None,
        load_processes=(
            LoadProcess(worker=0, host="", pid=outcome.pid, requests=0, cpu_s=outcome.client_cpu_s),
        ),
        server=figures,
        cores=available_cores(),
        gpus=sampler.gpus,
        no_gpu=sampler.no_gpu,
        problems=(*problems, *sampler.problems),
    )
    _keep(folder, point, outcome, sampler)
    run.finish_point(point, observed)
    return derived(point, run, observed)


def derived(point: Point, run: RunFolder, observed: Observed) -> PointResult:
    """The result of a finished point, from what is on disk and nothing else."""
    folder = run.point(point.id)
    stored = samples_file.read_requests(folder / "requests.parquet")
    return derive(
        point,
        observed,
        Measured.of(stored.requests),
        stored.reasons,
        samples_file.read_host(folder / "host.parquet"),
        samples_file.read_gpu(folder / "gpu.parquet"),
        samples=str(folder.relative_to(run.path)),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _port(server: Server, protocol: Protocol) -> int:
    if protocol == "http":
        return server.http_port
    if server.grpc_port is None:
        raise InputError(
            f"the gRPC port of the server at {server.host} isn't known: give it with --grpc-port"
        )
    return server.grpc_port


def _variants(point: Point, kind: PointClass, loaded: LoadedScenario) -> tuple[Tensors, ...]:
    def made(count: int) -> tuple[Tensors, ...]:
        return payloads(point.model, kind, base_dir=loaded.folder, count=count, seed=point.seed)

    one = sum(tensor.nbytes for tensor in made(1)[0].values())
    return made(max(1, min(VARIANTS, VARIANTS_BYTES // max(one, 1))))


HEALTH_INTERVAL_S = 3.0


def _watch(server: Server) -> Callable[[], str | None]:
    """Why the server is gone, None while it isn't. A process that lives but hangs shows only when asked."""
    asked = time.monotonic()

    def alive() -> str | None:
        nonlocal asked
        if time.monotonic() - asked > HEALTH_INTERVAL_S and server.exit_reason() is None:
            healthy = server.healthy()
            asked = time.monotonic()
            if not healthy:
                return (
                    server.exit_reason()
                    or f"the server at {server.host}:{server.http_port} stopped answering"
                )
        return server.exit_reason()

    return alive


def _server_figures(
    server: Server, model: str, before: Sequence[Statistics]
) -> tuple[ServerFigures | None, tuple[str, ...]]:
    try:
        return difference(before[-1], server.statistics(model)), ()
    except ServerError as error:
        return None, (str(error),)


def _keep(folder: Path, point: Point, outcome: LoadOutcome, sampler: Sampler) -> None:
    requests, texts = read_spool(folder / "load")
    classes = [kind.name for kind in point.requests]
    samples_file.write_requests(folder / "requests.parquet", requests, classes, texts, outcome.window)
    samples_file.write_host(folder / "host.parquet", sampler.host)
    samples_file.write_gpu(folder / "gpu.parquet", sampler.gpu)
    for scratch in (folder / "load").iterdir():
        if scratch.suffix in SCRATCH:
            scratch.unlink()
