"""`harness run`: measure every point of a scenario, keep each as it ends, then say what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from harness.commands import report
from harness.commands.deployment import Address, deployment, environment_of
from harness.commands.derived import Derived
from harness.commands.measure import measure
from harness.commands.progress import Progress
from harness.load.address import LOOPBACK, is_loopback, parsed_master, reachable
from harness.load.team import checked_address
from harness.load.tls import Tls
from harness.model.check import check_classes
from harness.model.export import export
from harness.report.table import print_table
from harness.schema.errors import ExitCode, InputError
from harness.schema.model import ModelArtifact
from harness.schema.point import Point
from harness.schema.result import Environment, RunResult
from harness.store.run_folder import RunFolder, create_run, latest_unfinished, open_run
from harness.store.scenario_file import LoadedScenario, load_scenario

SAME = (
    *("sha256", "host", "cpu", "cores", "gpus", "packages"),
    *("triton_version", "server_mode", "backend", "execution_provider"),
)
"""What of the model and the environment must not change between the sittings of one run."""


PLAIN_WIDTH = 120
"""Columns of the table where it goes to a log, which has no width."""


def load(file: Path | None, overrides: Sequence[str] = ()) -> LoadedScenario:
    """A scenario that can be measured: well-formed, and its classes fit its model. Raises InputError."""
    if file is None:
        raise InputError("which scenario? name a file, e.g. harness run scenarios/quickstart.yaml")
    loaded = load_scenario(file, overrides)
    for point in loaded.points:
        try:
            check_classes(loaded.scenario.model, point.requests, base_dir=loaded.folder)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
    return loaded


def run(
    loaded: LoadedScenario,
    *,
    results: Path = Path("results"),
    url: str | None = None,
    grpc_port: int | None = None,
    tls: Tls | None = None,
    listen: str | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Measure a scenario into a new folder under `results`. Raises HarnessError; finished points are kept.

    `listen`: "address" or "address:port" where load processes of other machines are awaited, instead of
    starting them here.
    """
    at = Address.of(url, grpc_port, tls)
    awaited = _awaited(listen, loaded, at)
    progress = progress or Progress()
    model = _exported(loaded, progress)
    folder = create_run(results, loaded)
    return _finish(folder, loaded, model, at, awaited, progress)


def resume(
    what: Path | None,
    results: Path = Path("results"),
    overrides: Sequence[str] = (),
    *,
    url: str | None = None,
    grpc_port: int | None = None,
    tls: Tls | None = None,
    listen: str | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Go on with a run that was cut off; its finished points are not measured again.

    `what`: a run's folder, a scenario file (its latest unfinished run), or None (the latest unfinished run).
    """
    if overrides:
        raise InputError("a run goes on as it began: leave out --set and --workers, or leave out --resume")
    at = Address.of(url, grpc_port, tls)
    progress = progress or Progress()
    is_run = what is not None and what.is_dir()
    folder = open_run(what) if is_run else latest_unfinished(results, what)  # type: ignore[arg-type]
    loaded = folder.read_scenario()
    awaited = _awaited(listen, loaded, at)
    progress.say(f"going on with {folder.path}")
    return _finish(folder, loaded, _exported(loaded, progress), at, awaited, progress)


def _awaited(listen: str | None, loaded: LoadedScenario, at: Address | None) -> tuple[str, int] | None:
    """Where load processes of other machines are awaited. Raises InputError where they would come in vain."""
    if listen is None:
        return None
    host, port = checked_address(*parsed_master(listen, "--listen"))
    server = LOOPBACK if at is None else urlsplit(at.url).hostname or ""
    if not is_loopback(host) and (is_loopback(server) or server != reachable(server)):
        there = f"http://{reachable(host)}:8000"
        raise InputError(
            f"load processes of other machines can't reach a server at {server}: run `harness serve "
            f"{loaded.scenario.model} --host {host}` here, and give this run `--url {there}`"
        )
    if any(point.shared_memory != "none" for point in loaded.points):
        raise InputError(
            "shared memory ends at the machine: leave out --listen, or set shared_memory to none"
        )
    return host, port


def _exported(loaded: LoadedScenario, progress: Progress) -> ModelArtifact:
    with progress.doing(f"model {loaded.scenario.model}"):
        return export(loaded.scenario.model, base_dir=loaded.folder, progress=progress.detail)


def _finish(
    folder: RunFolder,
    loaded: LoadedScenario,
    model: ModelArtifact,
    at: Address | None,
    listen: tuple[str, int] | None,
    progress: Progress,
) -> RunResult:
    """Measure the points that are missing, and write the page whatever happens in between."""
    with folder.locked():
        _same(folder, model)
        remaining = [p for p in loaded.points if folder.observed(p.id) is None]
        known: dict[str, Derived] = {}
        try:
            if remaining:
                _measure_all(remaining, folder, loaded, model, at, listen, progress, known)
        finally:
            if any(folder.observed(p.id) for p in loaded.points):
                folder.write(report.collect(folder, known))
                result = report.write_reports(folder, known, progress)
        return result


def _measure_all(
    remaining: Sequence[Point],
    folder: RunFolder,
    loaded: LoadedScenario,
    model: ModelArtifact,
    at: Address | None,
    listen: tuple[str, int] | None,
    progress: Progress,
    known: dict[str, Derived],
) -> None:
    """Measure one by one; what each gave goes to `known`, and the run's result is on disk after each."""
    of = len(loaded.points)
    environment = None
    log, cache = folder.path / "server.log", loaded.scenario.server.response_cache
    with deployment(log, at=at, response_cache=cache) as server:
        progress.say(f"Triton {server.version} at {server.host}:{server.http_port}")
        settings = None
        for number, point in enumerate(remaining, start=of - len(remaining) + 1):
            with progress.point(number, of, point):
                if server.exit_reason() is not None or not server.healthy():
                    server.restart()
                    settings = None
                if point.server != settings:
                    server.serve(model, point.server)
                    settings = point.server
                if environment is None:
                    environment = environment_of(server, embedded=at is None)
                    _same(folder, environment)
                known[point.id] = measure(
                    point,
                    model=model,
                    server=server,
                    run=folder,
                    loaded=loaded,
                    progress=progress,
                    tls=at.tls if at is not None else None,
                    listen=listen,
                )
            folder.write(report.collect(folder, known))
            progress.result(number, of, known[point.id].result)


def _same(folder: RunFolder, now: ModelArtifact | Environment) -> None:
    """Keep what the run's first sitting saw, and refuse to go on with another model or on another machine:
    it would mix two things in one table."""
    before = folder.read(type(now))
    if before is None:
        folder.write(now)
        return
    moved = [name.replace("_", " ") for name in SAME if getattr(before, name, 0) != getattr(now, name, 0)]
    if moved:
        raise InputError(
            f"{folder.path} was begun with another {', '.join(moved)}: "
            "finish it as it was begun, or start a new run"
        )


def exit_code(result: RunResult) -> ExitCode:
    """3 where a figure can't be used or an objective not be judged, else 1 where one is missed, else 0."""
    checks = [check for point in result.points for check in point.objective]
    if any(p.verdict != "valid" for p in result.points) or any(c.met is None for c in checks):
        return ExitCode.INVALID
    return ExitCode.OBJECTIVE_MISSED if any(c.met is False for c in checks) else ExitCode.FINE


def show(result: RunResult) -> None:
    """The table, on stdout."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    print_table(result, console, page=Path(result.path) / "report.html")
