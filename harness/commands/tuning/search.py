"""One search while it goes on: what was measured, in which order, and what is measured next."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.analysis.quantile import requests_needed
from harness.choice.configurations import complexity, is_default
from harness.clock import now
from harness.commands.derived import derived
from harness.commands.measured import measured
from harness.commands.open_loop import at_rate, check_one_workload, gap_cv, limited, saturating
from harness.commands.progress import Progress
from harness.commands.run import Models
from harness.commands.served import check_plain_requests
from harness.commands.sittings import check_environment
from harness.measurement.session import Session
from harness.report.search_words import cost_figure_words
from harness.schema.errors import InputError, ServerError
from harness.schema.expansion import configurations, point_at
from harness.schema.point import Point, Setting
from harness.schema.result import Environment, PointResult
from harness.schema.scenario import Measure, Scenario
from harness.schema.tune_result import Figure, Proof, Stage, Step, TuneResult
from harness.store.run_folder import RunFolder
from harness.store.scenario_file import LoadedScenario
from harness.triton.as_loaded import as_served
from harness.tuning.ask_and_tell import Ask, Failed, Told
from harness.tuning.at_rate import AtRate
from harness.tuning.foresight import Foresight, Workload
from harness.tuning.race import Pace, Race
from harness.tuning.space import Space
from harness.tuning.told import as_step, limits, of_step, told

PROOF = 0.25
"""Share of the budget in which the winner is measured once more."""

LEAST_S = 20.0
"""No search is worth its name in less."""

WARMUP_S, BETWEEN_S = 1.0, 0.3
"""Load before a measurement: of a configuration that was just loaded, and of the one measured before."""


@dataclass
class Search:
    """All that belongs to one search."""

    loaded: LoadedScenario
    folder: RunFolder
    models: Models
    race: Race
    budget_s: float
    progress: Progress
    clock: Callable[[], float] = time.monotonic
    started_at: str = field(default_factory=now)
    steps: list[Step] = field(default_factory=list)
    points: dict[str, PointResult] = field(default_factory=dict)
    """The figures of the measured points, by id."""
    environment: Environment | None = None
    proof: Proof | None = None
    served: int | None = None
    """Number of the configuration that was measured last on the live server."""

    checked: bool = False
    """Whether this sitting is known to be where the search was begun."""
    used_s: float = 0.0
    """What earlier sittings took."""
    left: list[Point] = field(default_factory=list)
    """Points that an earlier sitting measured, and was killed before it could say what they tell."""

    @property
    def scenario(self) -> Scenario:
        return self.loaded.scenario

    @property
    def configurations(self) -> tuple[Mapping[str, Setting], ...]:
        return tuple(self.race.space.configurations)

    @property
    def is_of_cost(self) -> bool:
        """Whether the least of something is searched for, at a rate."""
        return self.scenario.tune.goal != "throughput"

    @property
    def is_proven(self) -> bool:
        """Whether the budget is used and a proof was made."""
        return self.proof is not None and self.race.used_s >= self.budget_s

    @property
    def complexity(self) -> dict[int, tuple[float, ...]]:
        """To order configurations by, the simplest first."""
        varied = tuple(self.configurations[0])
        return {n: complexity(each, varied) for n, each in enumerate(self.configurations)}


def race_of(loaded: LoadedScenario, budget_s: float, models: Models | None = None) -> Race:
    """The race among the scenario's configurations; of a model that is served by itself `models` say how its
    owner configured it. Raises InputError for a scenario that can't be searched, and for a budget that is too
    small."""
    scenario, first, asked = loaded.scenario, loaded.points[0], loaded.scenario.tune
    check_plain_requests(loaded)
    check_one_workload(loaded)
    objective = limited(loaded) if asked.goal == "throughput" else limits(scenario.objective)
    if budget_s < LEAST_S:
        raise InputError(
            f"a search takes {LEAST_S:g} s at least, and {budget_s:g} s are given: raise --minutes, or "
            "tune.minutes in the scenario"
        )
    found = configurations(scenario)
    default = next((n for n, each in enumerate(found) if is_default(each, tuple(each))), None)
    fixed = {path: value for path, value in first.settings.items() if value is not None}
    if models is not None:
        served = as_served(models[first.dtype], first.server)
        fixed |= {f"server.{key}": value for key, value in served if isinstance(value, Setting)}
    workload = Workload(objective, size=_size(first), gap_cv=gap_cv(scenario))
    foresight = Foresight(Space(found, default), workload, fixed)
    needed = max((requests_needed(share) for share in objective), default=requests_needed(0.99))
    pace = Pace(requests=round(1.3 * needed), most_s=min(30.0, max(5.0, budget_s / 40)))
    race_s = (1 - PROOF) * budget_s
    if asked.rate_per_s is None:
        return Race(foresight, budget_s=race_s, pace=pace)

    def words(cost: float) -> str:
        return cost_figure_words(Figure(value=cost, low=None, high=None), asked.goal)

    return AtRate(foresight, rate_per_s=asked.rate_per_s, budget_s=race_s, pace=pace, words=words)


def recall(search: Search, before: TuneResult) -> None:
    """Take the search to where an earlier sitting left it. Raises InputError where its points aren't whole,
    and where the scenario makes other configurations."""
    known = [dict(each.settings) for each in before.candidates]
    if known != [dict(each) for each in search.configurations]:
        raise InputError(
            f"{search.folder.path} was begun with other configurations than its scenario makes now: "
            "start a new search"
        )
    finished = {}
    for point in search.folder.points().begun:
        if (observed := search.folder.observed(point.id)) is not None:
            finished[point.id] = point
            search.points[point.id] = derived(point, search.folder, observed).result
    for step in before.steps:
        search.steps.append(step)
        if step.stage == "search":
            alone = step.users == 1
            asked = Ask(step.candidate, step.rate_per_s, step.seconds, step.why, alone)
            search.race.tell(asked, of_step(step), step.took_s)
    search.started_at, search.environment = before.started_at, before.environment
    search.proof, search.used_s = before.proof, before.used_s
    told = {step.point for step in before.steps}
    search.left = [point for id_, point in finished.items() if id_ not in told]


def measure(search: Search, session: Session, asked: Ask, stage: Stage) -> tuple[Step, Told]:
    """Measure what was asked for; the step that was made, and what it tells. A configuration that the server
    refuses, or that ends it, is an answer; any other error is raised."""
    began, number = search.clock(), len(search.steps) + 1
    point = _point(search, asked)
    left = next((each for each in search.left if _same(each, point)), None)
    finished = None
    with search.progress.point(number, number, point, said=False):
        try:
            if left is not None:
                point, result = left, search.points[left.id]
            else:
                model, base = search.models[point.dtype], search.loaded.folder
                session.serve(model, point.server)
                _check_place(search, session)
                result = measured(session, point, model, search.folder, base_dir=base).result
            search.points[point.id], finished = result, point.id
            observed = search.folder.observed(point.id)
            died = None if observed is None else observed.ended
            what = told(result, search.scenario.tune) if died is None else Failed(died)
            _check_goal(search, result)
        except ServerError as error:
            what = Failed(str(error))
    search.served = None if isinstance(what, Failed) else asked.candidate
    step = Step(
        number=number,
        stage=stage,
        candidate=asked.candidate,
        rate_per_s=point.load.shape.nominal_rate_per_s,
        users=point.load.shape.users,
        seconds=asked.seconds,
        why=asked.why,
        point=finished,
        took_s=search.clock() - began,
        **as_step(what),
    )
    search.steps.append(step)
    return step, what


def _check_place(search: Search, session: Session) -> None:
    """Before a sitting measures: raises InputError on another machine than the search was begun on."""
    if not search.checked:
        here = session.environment
        check_environment(search.folder, here, measured=any(step.point for step in search.steps))
        search.environment, search.checked = search.environment or here, True


def _check_goal(search: Search, result: PointResult) -> None:
    """Raises InputError where nothing here tells what is searched for."""
    goal = search.scenario.tune.goal
    if goal in ("energy", "gpu_memory") and not result.gpu:
        raise InputError(
            f"no GPU is seen here, so nothing tells the {goal.replace('_', ' ')} that is to be the least: "
            "choose another tune.goal"
        )


def _same(one: Point, other: Point) -> bool:
    """But for the warm-up, which is another one on a server that was started anew."""
    return (one.configuration, one.load, one.seed, one.measure.duration_s) == (
        other.configuration,
        other.load,
        other.seed,
        other.measure.duration_s,
    )


def _point(search: Search, asked: Ask) -> Point:
    """Its seed is another one for each measurement of a configuration: no two have the same requests."""
    scenario = search.scenario
    timeout_s = scenario.measure.timeout_s
    if asked.rate_per_s is not None and (limits_s := limits(scenario.objective).values()):
        # A request that waits for longer than this has missed its limit, whatever is still to come.
        timeout_s = min(timeout_s, max(2.0, 4 * max(limits_s)))
    earlier = sum(step.candidate == asked.candidate for step in search.steps)
    measure = Measure(
        warmup_s=BETWEEN_S if search.served == asked.candidate else WARMUP_S,
        duration_s=round(asked.seconds, 3),
        timeout_s=timeout_s,
    )
    seed = (scenario.seed + earlier) % 2**32
    asked_for = scenario.model_copy(update={"measure": measure, "seed": seed})
    return point_at(asked_for, {**search.configurations[asked.candidate], **_load(search, asked)})


def _load(search: Search, asked: Ask) -> dict[str, Setting]:
    foresight = search.race.foresight
    if asked.alone:
        return {"load.concurrency": 1}
    if asked.rate_per_s is None:
        batcher = foresight.batcher(asked.candidate)
        return saturating(batcher.instances, batcher.max_batch, foresight.workload.size)
    return at_rate(search.scenario, asked.rate_per_s)


def _size(point: Point) -> int:
    """Inferences in a request, on average."""
    weights = sum(kind.weight for kind in point.requests)
    return max(1, round(sum(kind.batch * kind.weight for kind in point.requests) / weights))
