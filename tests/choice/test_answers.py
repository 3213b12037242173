"""One answer for each workload: what is best, what can't be told from it, and what may not be named."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from harness.choice.scores import Score
from harness.choice.told_apart import ratio
from harness.choice.workloads import answers
from harness.schema.answer import Answer
from harness.schema.expansion import expand
from harness.schema.result import PointResult, Verdict
from harness.schema.scenario import Load, Objective, RequestClass, Scenario, Server
from tests.choice.simulated import measured
from tests.report import factory


def scenario(
    max_batch: Sequence[int] = (4, 8), users: Sequence[int] = (1, 2, 4, 8), objective: Objective | None = None
) -> Scenario:
    return Scenario(
        model="m",
        server=Server(max_batch=tuple(max_batch)),
        requests=(RequestClass(name="text", tokens=16),),
        load=Load(concurrency=tuple(users)),
        objective=objective or Objective(),
    )


def point(
    of: Scenario,
    place: int,
    throughput: float,
    *,
    relative: float = 0.02,
    mean_s: float = 0.01,
    verdict: Verdict = "valid",
    met: bool | None = True,
) -> PointResult:
    """The scenario's point at this place, with such figures; `relative` is half of its intervals."""
    made = factory.point_result(expand(of)[place], verdict="valid", gpu=False)
    low, high = 1 - relative, 1 + relative
    latency = made.latency_s.model_copy(
        update={"mean": mean_s, "interval_95": {"mean": (mean_s * low, mean_s * high)}}
    )
    checks = tuple(check.model_copy(update={"met": met}) for check in made.objective)
    return made.model_copy(
        update={
            "verdict": verdict,
            "throughput_inferences_per_s": throughput,
            "throughput_interval_95": (throughput * low, throughput * high),
            "latency_s": latency,
            "objective": checks,
        }
    )


def apart(answer: Answer, points: Sequence[PointResult]) -> int:
    """How many configurations are told to be less than the best."""
    of = {p.id: p.point.server.max_batch for p in points}
    return len(set(of.values()) - {of[i] for i in (answer.best, *answer.ties, *answer.undecided) if i})


@pytest.mark.parametrize("configurations", [(4, 8), (1, 2, 4, 8, 16, 32)], ids=["two", "six"])
@pytest.mark.parametrize("limit_ms", [None, 60.0, 110.0], ids=["no objective", "a close one", "a wide one"])
def test_equal_configurations_are_told_apart_in_at_most_5_of_100_runs(
    configurations: tuple[int, ...], limit_ms: float | None
) -> None:
    runs = 120
    asked = scenario(configurations, objective=Objective(p99_ms=limit_ms))
    found = 0
    for seed in range(runs):
        points = measured(asked, dict.fromkeys(configurations, 0.01), seed)
        (answer,) = answers(points)
        assert answer.best is not None
        found += apart(answer, points) > 0
    assert found <= 0.05 * runs


@pytest.mark.parametrize("limit_ms", [None, 110.0], ids=["no objective", "objective"])
def test_a_fifth_more_is_told_apart(limit_ms: float | None) -> None:
    runs, found = 40, 0
    asked = scenario(users=(1, 2, 4), objective=Objective(p99_ms=limit_ms))
    for seed in range(runs):
        points = measured(asked, {4: 0.01, 8: 0.01 / 1.2}, seed)
        (answer,) = answers(points)
        best = next(p for p in points if p.id == answer.best)
        found += apart(answer, points) == 1 and best.point.server.max_batch == 8
        if found and answer.over_default is not None:
            assert answer.default != answer.best
    assert found >= 0.9 * runs


def test_the_ratio_to_the_default_configuration_holds_the_truth() -> None:
    """The default is a max batch of 8; with 4 this queue is a fifth faster."""
    runs, held = 100, 0
    asked = scenario(users=(4,), objective=Objective(p99_ms=1000))
    for seed in range(runs):
        (answer,) = answers(measured(asked, {4: 0.01 / 1.2, 8: 0.01}, seed))
        assert answer.over_default is not None and answer.over_default.interval_95 is not None
        low, high = answer.over_default.interval_95
        held += low <= 1.2 <= high
    assert held >= 93


def test_one_interval_decides_the_tie_and_the_ratio() -> None:
    """1 lies in the ratio's interval where, and only where, the two are ties."""
    for more, relative in ((1.05, 0.05), (1.05, 0.02), (1.3, 0.1), (1.3, 0.3), (1.03, 0.02)):
        asked = scenario(users=(4,), objective=Objective(p99_ms=100))
        points = (point(asked, 0, 100 * more, relative=relative), point(asked, 1, 100, relative=relative))
        (answer,) = answers(points)
        assert answer.over_default is not None and answer.over_default.interval_95 is not None
        low, high = answer.over_default.interval_95
        assert low < answer.over_default.value < high
        assert answer.over_default.value == pytest.approx(more)
        assert (low <= 1) == (answer.ties == (points[1].id,))


def test_there_is_an_answer_for_each_workload_and_the_smallest_decides_nothing() -> None:
    asked = scenario().model_copy(
        update={
            "requests": (RequestClass(name="text", tokens=(16, 256)),),
            "load": Load(concurrency=4),
            "objective": Objective(p99_ms=100),
        }
    )
    # max batch 4: 16 tokens, 256 tokens; max batch 8: the same
    points = tuple(point(asked, place, rate) for place, rate in enumerate((900, 100, 500, 200)))
    small, large = answers(points)
    assert small.workload == {"requests.text.batch": 1, "requests.text.tokens": 16}
    assert large.workload == {"requests.text.batch": 1, "requests.text.tokens": 256}
    assert (small.best, large.best) == (points[0].id, points[3].id), "not the best one at the other size"
    assert (small.ties, large.ties) == ((), ())


def test_what_is_declared_otherwise_has_its_own_place() -> None:
    asked = scenario().model_copy(
        update={
            "protocol": ("http", "grpc"),
            "requests": (RequestClass(name="text", tokens=(16, 256)),),
            "load": Load(concurrency=4),
            "given": ("protocol",),
            "chosen": ("requests.text.tokens",),
            "server": Server(max_batch=8),
        }
    )
    points = tuple(point(asked, place, rate) for place, rate in enumerate((900, 100, 500, 700)))
    over_http, over_grpc = answers(points)
    assert over_http.workload == {"protocol": "http", "requests.text.batch": 1}
    assert (over_http.best, over_grpc.best) == (points[0].id, points[3].id)
    assert points[0].point.configuration["requests.text.tokens"] == 16


def test_with_an_objective_the_highest_throughput_that_holds_it_is_best() -> None:
    asked = scenario((8,), users=(1, 2, 4), objective=Objective(p99_ms=100))
    points = (point(asked, 0, 100), point(asked, 1, 180), point(asked, 2, 220, met=False))
    (answer,) = answers(points)
    assert (answer.rule, answer.best, answer.at_highest_load) == ("objective", points[1].id, False)
    assert answer.undecided == ()


def test_without_one_it_is_the_knee() -> None:
    """Throughput over mean latency: 100 / 10 ms, 180 / 11 ms, 200 / 20 ms."""
    asked = scenario((8,), users=(1, 2, 4))
    figures = ((100, 0.01), (180, 0.011), (200, 0.02))
    points = tuple(point(asked, i, rate, mean_s=mean) for i, (rate, mean) in enumerate(figures))
    (answer,) = answers(points)
    assert (answer.rule, answer.best, answer.at_highest_load) == ("knee", points[1].id, False)


def test_a_best_at_the_highest_load_says_so() -> None:
    asked = scenario((8,), users=(1, 2), objective=Objective(p99_ms=100))
    (answer,) = answers((point(asked, 0, 100), point(asked, 1, 180)))
    assert answer.at_highest_load


@pytest.mark.parametrize(
    "open_", [{"verdict": "inconclusive"}, {"verdict": "invalid"}, {"met": None}], ids=str
)
def test_what_can_not_be_judged_and_may_be_better_is_named(open_: dict[str, object]) -> None:
    asked = scenario((4, 8), users=(1, 2), objective=Objective(p99_ms=100))
    # Of max batch 4 one point holds; the other, and all of max batch 8, can't be judged.
    points = (
        point(asked, 0, 100),
        point(asked, 1, 190, **open_),  # type: ignore[arg-type]
        point(asked, 2, 50, **open_),  # type: ignore[arg-type]
        point(asked, 3, 99, **open_),  # type: ignore[arg-type]
    )
    (answer,) = answers(points)
    assert answer.best == points[0].id
    assert answer.undecided == (points[1].id, points[3].id)
    assert answer.default is None, "of the default configuration no point holds"


def test_no_point_that_holds_is_no_best_and_says_why() -> None:
    asked = scenario((8,), users=(1, 2, 4), objective=Objective(p99_ms=100))
    points = (
        point(asked, 0, 100, met=False),
        point(asked, 1, 100, met=None),
        point(asked, 2, 100, verdict="invalid"),
    )
    (answer,) = answers(points)
    assert answer.best is None and answer.simplest is None
    assert answer.why == "no valid point holds the objective: 1 missed it, 1 can't tell, 1 invalid"


def test_of_ties_the_one_that_departs_least_from_the_defaults_is_the_simplest() -> None:
    asked = scenario(users=(4,)).model_copy(
        update={"server": Server(max_batch=(4, 8), instances=(1, 2)), "objective": Objective(p99_ms=100)}
    )
    # (4, 1), (4, 2), (8, 1), (8, 2); 8 and 1 are the defaults
    points = tuple(point(asked, place, rate) for place, rate in enumerate((101, 103, 50, 102)))
    (answer,) = answers(points)
    assert answer.best == points[1].id
    assert answer.ties == (points[3].id, points[0].id)
    assert answer.simplest == points[0].id, "both depart in one setting, and one instance costs less than two"
    assert answer.default == points[2].id
    assert answer.over_default is not None and answer.over_default.value == pytest.approx(2.06)


def test_what_has_no_interval_is_told_from_nothing() -> None:
    asked = scenario(users=(4,), objective=Objective(p99_ms=100))
    unknown = point(asked, 1, 10).model_copy(update={"throughput_interval_95": None})
    (answer,) = answers((point(asked, 0, 100), unknown))
    assert answer.ties == (unknown.id,)
    assert answer.over_default is not None and answer.over_default.interval_95 is None


def test_more_configurations_need_a_larger_difference() -> None:
    one, other = (Score(point(scenario(), 0, 1), "holds", log, 0.01) for log in (0.0, -0.1))
    widths = [
        math.log(found[1] / found[0])
        for of in (2, 6, 24)
        if (found := ratio(one, other, of).interval_95) is not None
    ]
    assert widths[0] == pytest.approx(2 * 1.96 * math.hypot(0.01, 0.01), rel=1e-3)
    assert widths == sorted(widths) and widths[2] > 1.7 * widths[0]
