"""`harness plan`: how many replicas a demand takes, by simulation of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.analysis.outcomes import code_of, plan_outcome
from harness.clock import now
from harness.commands.derived import import_libraries
from harness.commands.planning.asked import Asked, asked_of
from harness.commands.planning.chosen import Chosen
from harness.commands.planning.evidence import Gathered, gather, hardware_key, latest
from harness.commands.planning.hardware_plan import hardware_plan
from harness.commands.planning.live import Live
from harness.commands.planning.observe import observe as measure_what_lacks
from harness.commands.planning.observe import only_configuration
from harness.commands.planning.verify import verify as check_prediction
from harness.commands.progress import Progress
from harness.commands.run import RESULTS, models_of
from harness.commands.served import check_plain_requests
from harness.commands.sittings import check_models
from harness.confined import confined
from harness.console import print_sentences
from harness.measurement.testbed import Testbed, most_shared
from harness.report.page.plan_page import write_plan_page
from harness.report.plan_words import plan_lines
from harness.schema.errors import ExitCode, InputError
from harness.schema.hardware import HardwareFile
from harness.schema.plan_result import DemandFigures, HardwarePlan, PlanResult
from harness.schema.point import Setting
from harness.store import hardware_file, plan_file
from harness.store.run_folder import RunFolder, create_run, open_run
from harness.store.scenario_file import LoadedScenario
from harness.version import version


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, with the models that it was made by."""

    result: PlanResult
    models: dict[tuple[object, ...], tuple[Chosen, HardwarePlan]]
    """By the hardware."""


def plan(
    loaded: LoadedScenario,
    testbed: Testbed | None = None,
    sources: Sequence[Path] = (),
    *,
    rate_per_s: float | None = None,
    hardware: Path | None = None,
    observe: bool = False,
    verify: bool = False,
    results: Path = RESULTS,
    progress: Progress | None = None,
) -> PlanResult:
    """Plan by what `sources` measured, folders of runs and searches (none: the newest of the scenario), into
    a new folder under `results`.

    `rate_per_s` and `hardware` are in place of the scenario's own. `observe`: first measure what a plan needs
    to know, of the configuration that a source recommends or of the scenario's only one; `verify`: then
    measure whether one replica does what was predicted. Raises HarnessError; what was measured is kept.
    """
    testbed, progress = testbed or Testbed(), progress or Progress()
    check_plain_requests(loaded)
    asked, known = asked_of(loaded, rate_per_s), _hardware_file(loaded, hardware)
    folders = _folders(loaded, sources, results, progress, needed=not observe)
    if not (observe or verify):
        gathered = gather(loaded, folders, asked.demand, progress)
        folder = create_run(results, loaded, one_after_another=True)
        result = _planned(loaded, asked, known, gathered, folder).result
        return _finished(folder, result, progress)
    configuration = _configuration(loaded, folders, asked, progress) if observe else {}
    testbed.check(loaded.name, loaded.points)
    models = models_of(loaded, testbed, progress)
    folder = create_run(results, loaded, one_after_another=True)
    with folder.locked():
        check_models(folder, tuple(models.values()), measured=False)
        import_libraries()
        log, shared = folder.path / "server.log", most_shared(loaded.points)
        with testbed.session(log, progress, shared_memory=shared) as session:
            live = Live(session, folder, loaded, models, progress, configuration)
            if observe:
                measure_what_lacks(live)
                folders = [*folders, folder]
            planned = _planned(loaded, asked, known, gather(loaded, folders, asked.demand, progress), folder)
            result = planned.result
            plan_file.write(folder, result)
            if verify:
                result = _verified(planned, live, asked)
        return _finished(folder, result, progress)


def _folders(
    loaded: LoadedScenario, sources: Sequence[Path], results: Path, progress: Progress, *, needed: bool
) -> list[RunFolder]:
    """What to plan by. Raises InputError where nothing is there and something is `needed`."""
    if sources:
        return [open_run(source) for source in sources]
    try:
        return [latest(results, loaded, progress)]
    except InputError:
        if needed:
            raise
        return []


def _configuration(
    loaded: LoadedScenario, folders: Sequence[RunFolder], asked: Asked, progress: Progress
) -> Mapping[str, Setting]:
    """What is to be observed: what a search recommends, else the only one of the scenario."""
    for recommended in gather(loaded, folders, asked.demand, progress).recommended:
        return {path: value for path, value in recommended if value is not None}
    return only_configuration(loaded)


def _planned(
    loaded: LoadedScenario, asked: Asked, known: HardwareFile | None, gathered: Gathered, folder: RunFolder
) -> Planned:
    plans, models = [], {}
    for evidence in gathered.by_hardware:
        found, model = hardware_plan(
            evidence,
            gathered.recommended,
            asked,
            known.named(evidence[0].hardware_name) if known else None,
            known.currency if known else "",
            gathered.left_out,
        )
        plans.append(found)
        if model is not None:
            models[hardware_key(evidence[0].environment)] = model, found
    if not plans:
        raise InputError("the results have no finished point: measure with `harness tune` or `harness run`")
    objective = {name: limit for name, limit in loaded.scenario.objective if limit is not None}
    result = PlanResult(
        run_id=folder.run_id,
        path=str(folder.path),
        scenario=loaded.name,
        made_at=now(),
        harness_version=version(),
        model=str(loaded.scenario.model),
        demand=_demand(asked),
        objective=objective,
        balancer=asked.plan.balancer,
        headroom=asked.plan.headroom,
        failures=asked.plan.failures,
        zones=asked.plan.zones,
        start_up_s=asked.plan.start_up_s,
        hardware=tuple(sorted(plans, key=_price)),
    )
    return Planned(result, models)


def _verified(planned: Planned, live: Live, asked: Asked) -> PlanResult:
    """Raises InputError where the plan is of other hardware than this machine's."""
    here = hardware_key(live.session.environment)
    if here not in planned.models:
        raise InputError("no kind of hardware in the plan is that of this server: verify where one is")
    model, found = planned.models[here]
    if found.replicas is None:
        live.progress.say("the plan names no number of replicas, so there is nothing to verify")
        return planned.result
    live.configuration = {path: v for path, v in model.configuration.items() if v is not None}
    check = check_prediction(live, model, asked, found.replicas.value)
    return planned.result.model_copy(update={"verification": (check,)})


def _finished(folder: RunFolder, result: PlanResult, progress: Progress) -> PlanResult:
    folder.end()
    plan_file.write(folder, result)
    page = folder.path / "plan.html"
    write_plan_page(result, page)
    progress.say(f"page: {page}")
    return result


def _hardware_file(loaded: LoadedScenario, given: Path | None) -> HardwareFile | None:
    if given is not None:
        return hardware_file.read(given)
    name = loaded.scenario.plan.hardware
    return (
        None if name is None else hardware_file.read(confined(loaded.folder, name, f"plan.hardware {name!r}"))
    )


def _demand(asked: Asked) -> DemandFigures:
    return DemandFigures(
        rate_per_s=asked.peak_per_s,
        today_per_s=asked.today_per_s,
        inferences_per_request=asked.demand.inferences,
        growth_per_year=asked.plan.growth_per_year,
        years=asked.plan.years,
        daily_per_s=None if asked.daily_per_s is None else tuple(asked.daily_per_s),
        arrivals=asked.arrivals,
    )


def _price(plan: HardwarePlan) -> tuple[bool, bool, float]:
    """To order by: what has an answer first, then what is cheapest; without a price by replicas."""
    if plan.money is not None:
        return False, False, plan.money.per_million_inferences
    return plan.replicas is None, True, float(plan.replicas.value if plan.replicas else 0)


def show(result: PlanResult) -> None:
    """What was found, on stdout."""
    print_sentences(plan_lines(result))


def exit_code(result: PlanResult) -> ExitCode:
    """0 where a number of replicas is named; 1 where it is known that none holds the objective, or that the
    prediction didn't; 3 where the data can't say."""
    return code_of(plan_outcome(result))
