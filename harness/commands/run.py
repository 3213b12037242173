"""`harness run`: measure every point of a scenario, keep each as it ends, then say what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.commands import report
from harness.commands.deployment import (
    EMBEDDED,
    ServerTarget,
    check_target,
    deployment,
    environment_of,
    open_to_others,
    open_to_the_network,
)
from harness.commands.derived import Derived
from harness.commands.export import export_model, say_what_runs
from harness.commands.measure import measure, runs_here
from harness.commands.progress import Progress
from harness.commands.resumable import resumable
from harness.console import TerminalConsole
from harness.load.address import is_loopback, parsed_master, reachable
from harness.load.coordinator.load_processes import checked_address
from harness.load.job import check_memory
from harness.model.check import check_classes, runs_code
from harness.probe.nvidia.gpus import availability
from harness.probe.watch.gpu_source import GpuSource
from harness.report.table import print_table
from harness.schema.errors import ExitCode, InputError
from harness.schema.model import ModelArtifact
from harness.schema.point import Point
from harness.schema.result import Environment, RunResult
from harness.schema.scenario import Dtype
from harness.store.run_folder import RunFolder, create_run
from harness.store.scenario_file import LoadedScenario, load_scenario

SAME = (
    *("host", "cpu", "cores", "gpus", "packages"),
    *("triton_version", "server_mode", "server_image", "backend", "execution_provider"),
)
"""What of the environment must not change between the sittings of one run."""

PLAIN_WIDTH = 120
"""Columns of the table where it goes to a log, which has no width."""


def load(
    file: Path | None,
    overrides: Sequence[str] = (),
    *,
    progress: Progress | None = None,
    only_look: bool = False,
) -> LoadedScenario:
    """A scenario that can be measured: well-formed, and its classes fit its model. Raises InputError.

    `only_look`: nothing of the user's is executed, so that a model that a function makes is not asked whether
    the classes fit it.
    """
    if file is None:
        raise InputError("which scenario? name a file, e.g. harness run scenarios/quickstart.yaml")
    loaded = load_scenario(file, overrides)
    if only_look and runs_code(loaded.scenario.model):
        return loaded
    say_what_runs(loaded.scenario.model, loaded.folder, progress or Progress())
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
    target: ServerTarget = EMBEDDED,
    listen: str | None = None,
    elsewhere: GpuSource | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Measure a scenario into a new folder under `results`. Raises HarnessError; finished points are kept.

    `target`: how Triton is to run. `listen`: "address" or "address:port" where load processes of other
    machines are awaited, instead of starting them here. `elsewhere`: how the GPUs of a server on another
    machine are seen.
    """
    _answers(elsewhere)
    awaited = _awaited(listen, loaded, target)
    _check_gpu(loaded, target)
    check_memory(loaded.points)
    check_target(target)
    progress = progress or Progress()
    models = _exported(loaded, progress)
    folder = create_run(results, loaded)
    return _finish(folder, loaded, models, target, awaited, elsewhere, progress)


def resume(
    what: Path | None,
    results: Path = Path("results"),
    overrides: Sequence[str] = (),
    *,
    target: ServerTarget = EMBEDDED,
    listen: str | None = None,
    elsewhere: GpuSource | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Go on with a run that was cut off; its finished points are not measured again.

    `what`: a run's folder, a scenario file (its latest unfinished run), or None (the latest unfinished run).
    """
    if overrides:
        raise InputError("a run goes on as it began: leave out --set and --workers, or leave out --resume")
    progress = progress or Progress()
    _answers(elsewhere)
    folder, loaded = resumable(what, results, progress)
    awaited = _awaited(listen, loaded, target)
    _check_gpu(loaded, target)
    check_memory(loaded.points)
    check_target(target)
    progress.say(f"going on with {folder.path}")
    return _finish(folder, loaded, _exported(loaded, progress), target, awaited, elsewhere, progress)


def _answers(elsewhere: GpuSource | None) -> None:
    """Rather now than after the export. Raises ServerError."""
    if elsewhere is not None:
        elsewhere.gpus()


def _check_gpu(loaded: LoadedScenario, target: ServerTarget) -> None:
    """Rather now than after the export. Raises InputError where a GPU is asked for and none is here."""
    asks = target.at is None and any(point.server.kind == "gpu" for point in loaded.points)
    if asks and (why := availability()) is not None:
        raise InputError(
            f"{loaded.name} asks for a GPU (server.kind: gpu), and there is none here ({why}): run it on a "
            "machine with one, or see how it would go with --set server.kind=cpu"
        )


def _awaited(listen: str | None, loaded: LoadedScenario, target: ServerTarget) -> tuple[str, int] | None:
    """Where load processes of other machines are awaited. Raises InputError where they would come in vain."""
    if listen is None:
        return None
    host, port = checked_address(*parsed_master(listen, "--listen"))
    server = target.host if target.at is None else urlsplit(target.at.url).hostname or ""
    if not is_loopback(host) and (is_loopback(server) or server != reachable(server)):
        remedy = "--host" if target.at is None else "--url"
        raise InputError(
            f"load processes of other machines can't reach a server at {server}: give this run {remedy} with "
            "an address of this machine that they reach"
        )
    if any(point.shared_memory != "none" for point in loaded.points):
        raise InputError(
            "shared memory ends at the machine: leave out --listen, or set shared_memory to none"
        )
    return host, port


Models = Mapping[Dtype | None, ModelArtifact]
"""What is served for each dtype that the points name, in their order."""


def _exported(loaded: LoadedScenario, progress: Progress) -> Models:
    dtypes = dict.fromkeys(point.dtype for point in loaded.points)
    return {dtype: export_model(loaded.scenario.model, loaded.folder, progress, dtype) for dtype in dtypes}


def _finish(
    folder: RunFolder,
    loaded: LoadedScenario,
    models: Models,
    target: ServerTarget,
    listen: tuple[str, int] | None,
    elsewhere: GpuSource | None,
    progress: Progress,
) -> RunResult:
    """Measure the points that are missing, and write the page whatever happens in between."""
    with folder.locked():
        _same_models(folder, tuple(models.values()))
        remaining = [p for p in loaded.points if folder.observed(p.id) is None]
        known: dict[str, Derived] = {}
        try:
            if remaining:
                _measure_all(remaining, folder, loaded, models, target, listen, elsewhere, progress, known)
        finally:
            if any(folder.observed(p.id) for p in loaded.points):
                folder.write(report.collect(folder, known))
                result = report.write_reports(folder, known, progress)
        return result


def _measure_all(
    remaining: Sequence[Point],
    folder: RunFolder,
    loaded: LoadedScenario,
    models: Models,
    target: ServerTarget,
    listen: tuple[str, int] | None,
    elsewhere: GpuSource | None,
    progress: Progress,
    known: dict[str, Derived],
) -> None:
    """Measure one by one; what each gave goes to `known`, and the run's result is on disk after each."""
    of = len(loaded.points)
    environment = None
    log, cache = folder.path / "server.log", loaded.scenario.server.response_cache
    with deployment(log, target, loaded.points, response_cache=cache) as server:
        for notice in (open_to_the_network(target), open_to_others(server)):
            if notice is not None:
                progress.say(notice)
        served = None
        for number, point in enumerate(remaining, start=of - len(remaining) + 1):
            with progress.point(number, of, point):
                model = models[point.dtype]
                if served != (model, point.server):
                    server.serve(model, point.server)
                    served = (model, point.server)
                elif server.exit_reason() is not None or not server.healthy():
                    server.restart()
                if environment is None:
                    progress.say(f"Triton {server.version} at {server.host}:{server.http_port}")
                    environment = environment_of(server)
                    if elsewhere is not None or not runs_here(server):
                        gpus = elsewhere.gpus() if elsewhere is not None else ()
                        environment = environment.model_copy(update={"gpus": gpus})
                    _same(folder, environment)
                known[point.id] = measure(
                    point,
                    model=model,
                    server=server,
                    run=folder,
                    loaded=loaded,
                    progress=progress,
                    tls=None if target.at is None else target.at.tls,
                    listen=listen,
                    elsewhere=elsewhere,
                )
            folder.write(report.collect(folder, known))
            progress.result(number, of, known[point.id].result)


def _same_models(folder: RunFolder, now: tuple[ModelArtifact, ...]) -> None:
    """As `_same`, for the ONNX files that the points are served."""
    before = folder.read_models()
    if not before:
        folder.write_models(now)
    elif [model.sha256 for model in before] != [model.sha256 for model in now]:
        raise _other(folder, "model")


def _same(folder: RunFolder, now: Environment) -> None:
    """Keep what the run's first sitting saw, and refuse to go on with another model or on another machine:
    it would mix two things in one table."""
    before = folder.read(Environment)
    if before is None:
        folder.write(now)
        return
    was, is_ = _comparable(before), _comparable(now)
    moved = [name.replace("_", " ") for name in SAME if was[name] != is_[name]]
    if moved:
        raise _other(folder, ", ".join(moved))


def _comparable(environment: Environment) -> dict[str, Any]:
    found = {name: getattr(environment, name) for name in SAME}
    # An idle link steps down, and why a value is null is no property of the GPU.
    moving: dict[str, Any] = {"pcie_generation": None, "pcie_width": None, "unsupported": {}}
    found["gpus"] = [gpu.model_copy(update=moving) for gpu in environment.gpus]
    # Points may ask for several providers; that one of them computes on the CPU may not come and go.
    found["execution_provider"] = environment.execution_provider == "CPUExecutionProvider"
    return found


def _other(folder: RunFolder, what: str) -> InputError:
    return InputError(
        f"{folder.path} was begun with another {what}: finish it as it was begun, or start a new run"
    )


def exit_code(result: RunResult) -> ExitCode:
    """3 where a figure can't be used or an objective not be judged, else 1 where one is missed, else 0."""
    checks = [check for point in result.points for check in point.objective]
    if any(p.verdict != "valid" for p in result.points) or any(c.met is None for c in checks):
        return ExitCode.INVALID
    return ExitCode.OBJECTIVE_MISSED if any(c.met is False for c in checks) else ExitCode.FINE


def show(result: RunResult) -> None:
    """The table, on stdout."""
    console = TerminalConsole()
    if not console.is_terminal:
        console = TerminalConsole(width=PLAIN_WIDTH)
    print_table(result, console, page=Path(result.path) / "report.html")
