"""Runs to compare that never happened: OPEN_LOOP of the factory, on a machine of whatever kind."""

from __future__ import annotations

from typing import Any

from harness.comparison.subject import Subject
from harness.schema.result import Environment, PointResult, RunResult
from harness.schema.scenario import Load, Measure, Objective, RequestClass, Scenario, Server
from harness.schema.tune_result import Candidate, Figure, Proof, Step, TuneResult
from tests.report.factory import environment, run_of

SCENARIO = Scenario(
    model="minilm",
    server=Server(max_batch=8),
    requests=(RequestClass(name="text", tokens=16),),
    load=Load(rate_per_s=(50.0, 100.0, 200.0), arrivals="poisson"),
    measure=Measure(warmup_s=2, duration_s=10),
    objective=Objective(p99_ms=200, errors=0.001),
)


def gpu_named(name: str, **changed: Any) -> Environment:
    """The factory's machine with another GPU."""
    where = environment(gpu=True)
    return where.model_copy(
        update={"gpus": (where.gpus[0].model_copy(update={"name": name, **changed}),), "host": name}
    )


def subject(
    scenario: Scenario = SCENARIO, where: Environment | None = None, *, gpu: bool = True, **run: Any
) -> Subject:
    """`run`: what of the result is to be otherwise."""
    made = run_of(scenario, gpu=gpu).model_copy(update={"run_id": "a-run", **run})
    where = where or environment(gpu=gpu)
    return Subject(made.model_copy(update={"environment": where}), where)


def with_point(of: Subject, number: int, **changed: Any) -> Subject:
    """One of its points otherwise."""
    points = list(of.run.points)
    points[number] = points[number].model_copy(update=changed)
    return Subject(of.run.model_copy(update={"points": tuple(points)}), of.environment, of.search)


def searched(of: Subject, *, proven: Figure | None = None, **changed: Any) -> Subject:
    """As a search whose only configuration the run's points are of."""
    settings = of.run.points[0].configuration
    candidate = Candidate(
        number=0,
        settings={"server.max_batch": 8},
        standing="best",
        why=None,
        capacity_per_s=Figure(value=150, low=100, high=190),
        served_per_s=None,
        foreseen_per_s=None,
        cliff=None,
        measured_s=30,
        tries=3,
        at=None,
    )
    search = TuneResult(
        run_id=of.run.run_id,
        path=of.run.path,
        scenario=of.run.scenario,
        started_at=of.run.started_at,
        finished_at=of.run.finished_at,
        objective={"p99_ms": 200},
        budget_s=60,
        used_s=60,
        environment=of.environment,
        fixed={k: v for k, v in settings.items() if k != "server.max_batch"},
        default=0,
        best=0,
        recommended=0,
        why=None,
        decided=True,
        worth_going_on=None,
        proof=None if proven is None else Proof(turns=2, capacities_per_s={"0": proven}, over_default=None),
        candidates=(candidate,),
        steps=tuple(_step(number, point) for number, point in enumerate(of.run.points, 1)),
    )
    return Subject(of.run, of.environment, search.model_copy(update=changed))


def _step(number: int, point: PointResult) -> Step:
    return Step(
        number=number,
        stage="proof",
        candidate=0,
        rate_per_s=point.point.load.shape.nominal_rate_per_s,
        users=None,
        seconds=10,
        why="",
        point=point.id,
        told="rated",
        excess=0.0,
        excess_error=0.1,
        took_s=11,
    )


def in_dtypes(run: RunResult, **shas: str) -> dict[str, Any]:
    """The run's model in several dtypes, by their hashes."""
    assert run.model is not None
    first, *others = [run.model.model_copy(update={"dtype": d, "sha256": sha}) for d, sha in shas.items()]
    return {"model": first, "other_models": tuple(others)}
