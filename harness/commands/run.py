"""`harness run`: measure every point of a scenario, keep each as it ends, then say what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.analysis.outcomes import code_of, run_outcome
from harness.commands import report
from harness.commands.derived import Derived, derived, import_libraries
from harness.commands.export import export_model, say_what_runs
from harness.commands.init import first_scenario
from harness.commands.measured import measured
from harness.commands.progress import Progress
from harness.commands.resumable import resumable
from harness.commands.served import model_of
from harness.commands.sittings import another_harness, check_environment, check_models
from harness.console import console_for_tables
from harness.measurement.session import Session
from harness.measurement.testbed import Testbed, most_shared
from harness.model.check import check_batches, check_classes, runs_code
from harness.report.table import print_table
from harness.schema.errors import ExitCode, InputError
from harness.schema.model import Model, ModelArtifact
from harness.schema.point import Point
from harness.schema.result import RunResult
from harness.schema.scenario import Dtype
from harness.schema.served_model import Served
from harness.store.run_folder import RunFolder, create_run, slug
from harness.store.scenario_file import LoadedScenario, load_scenario, scenario_of_text, written
from harness.store.shipped import scenario_file
from harness.store.whole import Lost

RESULTS = Path("results")


def load(
    file: Path | None,
    overrides: Sequence[str] = (),
    *,
    progress: Progress | None = None,
    only_look: bool = False,
    as_loaded: bool = False,
) -> LoadedScenario:
    """A scenario that can be measured: well-formed, and its classes fit its model. Raises InputError.

    `only_look`: nothing of the user's is executed, so that a model that a function makes is not asked whether
    the classes fit it. `as_loaded`: what the scenario doesn't say is left to a server that already runs.
    """
    if file is None:
        raise InputError("which scenario? name a file, e.g. harness run scenarios/quickstart.yaml")
    progress = progress or Progress()
    found = scenario_file(file)
    if found != file:
        progress.say(f"there is no {file} here: the one that ships with harness is meant")
    loaded = load_scenario(found, overrides, as_loaded=as_loaded)
    if isinstance(loaded.scenario.model, Served):  # only its server knows what it takes
        return loaded
    if only_look and runs_code(loaded.scenario.model):
        return loaded
    say_what_runs(loaded.scenario.model, loaded.folder, progress)
    for point in loaded.points:
        try:
            check_classes(loaded.scenario.model, point.requests, base_dir=loaded.folder)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
    return loaded


def first_look(
    served: Served, testbed: Testbed, overrides: Sequence[str], progress: Progress
) -> LoadedScenario:
    """The scenario that `harness init` would write; it is told. Raises HarnessError."""
    text = first_scenario(served, testbed, progress)
    loaded = scenario_of_text(text, slug(served.served, most=100), Path(), overrides, as_loaded=True)
    progress.say("the scenario, as `harness init` writes it and with what was asked for besides:")
    for line in written(loaded.scenario).splitlines():
        progress.say(f"  {line}")
    return loaded


def run(
    loaded: LoadedScenario,
    testbed: Testbed | None = None,
    *,
    results: Path = RESULTS,
    progress: Progress | None = None,
) -> RunResult:
    """Measure a scenario into a new folder under `results`. Raises HarnessError; finished points are kept."""
    testbed, progress = testbed or Testbed(), progress or Progress()
    testbed.check(loaded.name, loaded.points)
    models = models_of(loaded, testbed, progress)
    folder = create_run(results, loaded)
    return measure(loaded, folder, models, testbed, progress)


def resume(
    what: Path | None,
    testbed: Testbed | None = None,
    *,
    results: Path = RESULTS,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> RunResult:
    """Go on with a run that was cut off; its finished points are not measured again.

    `what`: a run's folder, a scenario file (its latest unfinished run), or None (the latest unfinished run).
    """
    if overrides:
        raise InputError("a run goes on as it began: leave out --set and --workers, or leave out --resume")
    testbed, progress = testbed or Testbed(), progress or Progress()
    folder, loaded = resumable(what, results, progress, as_loaded=not testbed.target.starts)
    testbed.check(loaded.name, loaded.points)
    progress.say(f"going on with {folder.path}")
    return measure(loaded, folder, models_of(loaded, testbed, progress), testbed, progress)


Models = Mapping[Dtype | None, Model]
"""What is served for each dtype that the points name, in their order."""

Exports = Mapping[Dtype | None, ModelArtifact]
"""The same of a model that harness exports."""


def models_of(loaded: LoadedScenario, testbed: Testbed, progress: Progress) -> Models:
    """What the scenario's points are measured of: exports, or what the server has by itself. Raises
    HarnessError."""
    model = loaded.scenario.model
    if isinstance(model, Served):
        return {None: model_of(loaded, model, testbed, progress)}
    if testbed.target.theirs is not None:
        raise InputError(
            f"--model-repository is for models that lie in it, and {loaded.name} exports {model}: "
            "write `model: {served: NAME}`, or leave out --model-repository"
        )
    return exported(loaded, progress)


def exported(loaded: LoadedScenario, progress: Progress) -> Exports:
    """What the scenario's points need of a model that harness exports. Raises HarnessError."""
    dtypes, sizes = asked_of_export(loaded)
    name, folder = loaded.scenario.model, loaded.folder
    if isinstance(name, Served):
        raise InputError(f"{name} is nothing that harness exports, so that no copy of it can be kept")
    return served(loaded, [export_model(name, folder, progress, dtype, sizes) for dtype in dtypes])


def asked_of_export(loaded: LoadedScenario) -> tuple[tuple[Dtype | None, ...], tuple[dict[str, int], ...]]:
    """The dtypes that the points name, and the sizes that will be sent, which are proven too."""
    dtypes = tuple(dict.fromkeys(point.dtype for point in loaded.points))
    return dtypes, tuple({"batch": kind.batch, **kind.axes} for p in loaded.points for kind in p.requests)


def served(loaded: LoadedScenario, exports: Sequence[ModelArtifact]) -> Exports:
    """The exports by the dtypes that the points name. Raises InputError where one can't be asked in the
    scenario's batches."""
    for model in exports:
        check_batches(loaded.scenario, model)
    return dict(zip(asked_of_export(loaded)[0], exports, strict=True))


def measure(
    loaded: LoadedScenario, folder: RunFolder, models: Models, testbed: Testbed, progress: Progress
) -> RunResult:
    """Measure the points that are missing, and write the page whatever happens in between."""
    with folder.locked():
        known = _whole(loaded.points, folder, progress)
        check_models(folder, tuple(models.values()), measured=bool(known))
        missing = [point for point in loaded.points if point.id not in known]
        try:
            if missing:
                import_libraries()
                log = folder.path / "server.log"
                with testbed.session(log, progress, shared_memory=most_shared(loaded.points)) as session:
                    _measure_each(missing, session, loaded, folder, models, progress, known)
        finally:
            if known:
                result = report.collect(folder, known)
                folder.write_result(result)
                report.write_reports(folder, result, known, progress)
        return result


def _whole(points: Sequence[Point], folder: RunFolder, progress: Progress) -> dict[str, Derived]:
    """The points that needn't be measured, by id. One that has lost a file is measured again, which is said.

    Raises NotWhole where a file may be whole and can't be read here.
    """
    known = {}
    for point in points:
        try:
            observed = folder.observed(point.id)
            found = None if observed is None else derived(point, folder, observed)
        except Lost as fault:
            progress.say(f"the point {point.id} is measured again: {fault}")
            continue
        if found is not None and found.faults:
            progress.say(f"the point {point.id} is measured again: {'; '.join(found.faults)}")
        elif found is not None:
            known[point.id] = found
    return known


def _measure_each(
    missing: Sequence[Point],
    session: Session,
    loaded: LoadedScenario,
    folder: RunFolder,
    models: Models,
    progress: Progress,
    known: dict[str, Derived],
) -> None:
    """Measure one by one; what each gave goes to `known`, and the run's result is on disk after each."""
    of, earlier = len(loaded.points), len(known)
    for number, point in enumerate(missing, start=of - len(missing) + 1):
        with progress.point(number, of, point):
            if len(known) == earlier:  # before anything is measured: is it still where the run began?
                session.serve(models[point.dtype], point.server)
                server = session.server
                progress.say(f"Triton {server.version} at {server.address}")
                check_environment(folder, session.environment, measured=earlier > 0)
                if told := another_harness(folder, session.environment):
                    progress.say(told)
                session.check_batches(*missing)
            known[point.id] = measured(session, point, models[point.dtype], folder, base_dir=loaded.folder)
        folder.write_result(report.collect(folder, known))
        progress.result(number, of, known[point.id].result)


def exit_code(result: RunResult) -> ExitCode:
    """3 where a figure can't be used or an objective not be judged, else 1 where one is missed, else 0."""
    return code_of(run_outcome(result))


def show(result: RunResult, *, everything: bool = False) -> None:
    """The answers and the table, on stdout; `everything`: each point, however many there are."""
    console = console_for_tables()
    print_table(result, console, page=Path(result.path) / "report.html", everything=everything)
