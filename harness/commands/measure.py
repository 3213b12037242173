"""One point: fill the wire, watch the machine, ask Triton before and after, keep everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from harness.analysis.precision import enough
from harness.commands.derived import Derived, derived, keep
from harness.commands.progress import Progress
from harness.here import is_here
from harness.load.coordinator.driver import LoadOutcome, drive
from harness.load.job import Job
from harness.load.tls import Tls
from harness.model.payloads import payloads
from harness.probe.environment import available_cores, host_cores
from harness.probe.sampler import Sampler
from harness.probe.watch.gpu_source import GpuSource, unseen
from harness.probe.watch.local_watch import here
from harness.probe.watch.watch import Watch
from harness.schema.errors import InputError, ServerError
from harness.schema.model import ModelArtifact
from harness.schema.observed import Observed
from harness.schema.point import Point, PointClass
from harness.schema.result import ServerFigures
from harness.schema.scenario import Protocol
from harness.schema.tensors import Tensors
from harness.store.run_folder import RunFolder
from harness.store.scenario_file import LoadedScenario
from harness.triton.continuity import Continuity
from harness.triton.server import Server
from harness.triton.statistics import Statistics, difference

VARIANTS = 32
"""Different payloads of a class, so that no cache on the way can make a request cheaper than a real one."""

VARIANTS_BYTES = 256_000_000
"""Most bytes of one class's payloads together; large images get fewer variants."""


def measure(
    point: Point,
    *,
    model: ModelArtifact,
    server: Server,
    run: RunFolder,
    loaded: LoadedScenario,
    progress: Progress,
    tls: Tls | None = None,
    listen: tuple[str, int] | None = None,
    elsewhere: GpuSource | None = None,
) -> Derived:
    """Measure one point on a server that already serves it; everything is on disk when this returns.

    `tls` is that of the server's gRPC endpoint; at `listen`, load processes of other machines are awaited;
    `elsewhere` says how the GPUs of a server on another machine are seen.
    """
    folder = run.begin_point(point)
    started_at = _now()
    before: list[Statistics] = []
    load_pids: list[int] = []
    continuity = Continuity(server, model.name)
    job = Job(
        point=point,
        model=model.name,
        payloads={kind.name: _variants(point, kind, loaded) for kind in point.requests},
        outputs=[output.name for output in model.outputs],
        host=server.host,
        port=_port(server, point.protocol),
        listen=listen,
        tls=tls if point.protocol == "grpc" else None,
        http_port=server.http_port,
        access=server.access,
        folder=folder / "load",
        base_dir=loaded.folder,
    )

    def between() -> None:
        before.append(continuity.look())

    hidden = not server.process_ids() and runs_here(server)
    spool = folder / "gpu.jsonl"
    watch = _gpus(server, elsewhere, spool)
    with Sampler(server.process_ids, lambda: load_pids, server_hidden=hidden, watch=watch) as sampler:
        idle_ns = sampler.idle()
        try:
            outcome = drive(
                job,
                enough=lambda measured: enough(point, measured),
                between=between,
                alive=_watch(server, continuity),
                on_started=load_pids.extend,
                say=progress.say,
                on_progress=lambda p: progress.load(p.phase, p.elapsed_s, p.succeeded, p.failed),
            )
        except ServerError as error:  # between the phases, the server was gone
            outcome = LoadOutcome(job.folder, None, server.exit_reason() or str(error))
        # A server that died in the last moment is seen by nobody but us.
        ended = outcome.ended or server.exit_reason()
        figures, problems = _server_figures(before, continuity) if ended is None else (None, ())
    observed = Observed(
        started_at=started_at,
        finished_at=_now(),
        window_ns=(outcome.window.start_ns, outcome.window.end_ns) if outcome.window else None,
        ended=ended,
        stopped_by=outcome.stopped_by if ended is None else None,
        load_processes=outcome.processes,
        server_restarted=continuity.broken,
        server=figures,
        cores=available_cores(),
        host_cores=host_cores(),
        execution_provider=server.execution_provider,
        gpus=sampler.gpus,
        no_gpu=sampler.no_gpu,
        gpu_probe=sampler.gpu_probe,
        idle_ns=idle_ns,
        problems=(*problems, *sampler.problems),
    )
    keep(point, run, window=outcome.window, host=sampler.host, gpu=sampler.gpu)
    spool.unlink(missing_ok=True)
    run.finish_point(point, observed)
    return derived(point, run, observed)


def _gpus(server: Server, elsewhere: GpuSource | None, spool: Path) -> Watch:
    if elsewhere is not None:
        return elsewhere.watch(spool)
    return here(spool) if runs_here(server) else unseen()


def runs_here(server: Server) -> bool:
    """Whether the server is on this machine, so that the GPUs here are those that it uses."""
    return server.mode != "remote" or is_here(server.host)


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


def _watch(server: Server, continuity: Continuity) -> Callable[[], str | None]:
    """Why the server is gone, None while it isn't. A process that lives but hangs shows only when asked."""
    asked = time.monotonic()

    def alive() -> str | None:
        nonlocal asked
        if time.monotonic() - asked > HEALTH_INTERVAL_S and server.exit_reason() is None:
            healthy = server.healthy()
            if healthy:
                with suppress(ServerError):  # gone this moment: the next question tells
                    continuity.look(settled=False)
            asked = time.monotonic()
            if not healthy:
                return (
                    server.exit_reason()
                    or f"the server at {server.host}:{server.http_port} stopped answering"
                )
        return server.exit_reason()

    return alive


def _server_figures(
    before: Sequence[Statistics], continuity: Continuity
) -> tuple[ServerFigures | None, tuple[str, ...]]:
    try:
        return difference(before[-1], continuity.look()), ()
    except ServerError as error:
        return None, (str(error),)
