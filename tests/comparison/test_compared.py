"""What machines are said to serve, over the first: against runs whose truth is known, and made-up ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from harness.commands.comparing.environment_changes import changes
from harness.comparison.compared import Machine, compared
from harness.comparison.environment_weight import is_one_machine, weighed
from harness.comparison.load_points import frontier, frontier_ratios, load_points
from harness.comparison.subject import Subject
from harness.comparison.unsaid import unsaid, why_not_conclusive
from harness.schema.compare_result import ComparedMachine, RatioToReference
from harness.schema.result import PointResult
from harness.schema.scenario import Load, Objective, Server
from harness.schema.tune_result import Figure
from tests.comparison.subjects import SCENARIO, gpu_named, searched, subject, with_point
from tests.report.factory import environment


def machine(name: str, *subjects: Subject, price: float | None = None, gpus: int | None = 1) -> Machine:
    return Machine(
        ComparedMachine(
            name=name,
            device=subjects[0].device,
            gpus=gpus,
            price_per_hour=price,
            runs=tuple(each.record for each in subjects),
            environment=subjects[0].environment,
        ),
        subjects,
    )


def slower(of: Subject, times: float) -> Subject:
    """Every latency so many times as long, at the same rates."""
    points = []
    for point in of.run.points:
        latency = point.latency_s
        longer = {
            n: v * times for n in ("p50", "p90", "p95", "p99") if (v := getattr(latency, n)) is not None
        }
        ends = {name: (low * times, high * times) for name, (low, high) in latency.interval_95.items()}
        points.append(
            point.model_copy(update={"latency_s": latency.model_copy(update={**longer, "interval_95": ends})})
        )
    return Subject(of.run.model_copy(update={"points": tuple(points)}), of.environment, of.search)


def ratios(*machines: Machine) -> dict[tuple[str, str], RatioToReference]:
    (workload,) = compared(machines, ())
    return {(each.metric, each.at): each for each in workload.figures[-1].ratios}


PROVEN = Figure(value=150, low=140, high=160)


def test_capacities_are_by_the_search_s_proof_and_compared_with_their_intervals() -> None:
    one = machine("A", searched(subject(), proven=PROVEN))
    other = machine("B", searched(subject(), proven=Figure(value=300, low=290, high=330)))
    found = ratios(one, other)["capacity", "at the objective"]
    assert (found.reference, found.value, found.standing) == (150, 300, "more")
    assert found.ratio.value == pytest.approx(2)
    assert found.ratio.low == pytest.approx(
        2 * math.exp(-math.hypot(math.log(300 / 290), math.log(160 / 150)))
    )
    alike = ratios(one, machine("B", searched(subject(), proven=Figure(value=152, low=141, high=161))))
    assert alike["capacity", "at the objective"].standing == "not told apart"


def test_without_a_proof_the_search_s_own_interval_is_made_one_of_95_percent() -> None:
    (workload,) = compared([machine("A", searched(subject())), machine("B", searched(subject()))], ())
    found = workload.figures[0].capacity_per_s
    assert found.value == 150 and found.low is not None and 100 < found.low < 150
    assert "had no proof" in workload.figures[0].capacity_why


@pytest.mark.parametrize(
    ("limit_ms", "expected"),
    [(2000.0, "at least 200/s, not beyond"), (1.0, "at none"), (6.4, "between")],
)
def test_a_sweep_brackets_a_capacity_or_says_at_least_or_none(limit_ms: float, expected: str) -> None:
    asked = SCENARIO.model_copy(update={"objective": Objective(p99_ms=limit_ms)})
    machines = [machine("A", subject(asked)), machine("B", subject(asked))]
    (workload,) = compared(machines, ())
    found = workload.figures[0].capacity_per_s
    if expected == "at none":
        assert (found.value, found.low) == (None, None)
        assert "the objective held at no rate" in workload.figures[0].capacity_why
    elif expected == "between":
        assert found.value and found.low and found.high and 50 <= found.low < found.value < found.high <= 210
    else:
        assert (found.value, found.high) == (None, None) and found.low == pytest.approx(200)
        assert "may hold at larger rates" in workload.figures[0].capacity_why
    why = why_not_conclusive(machines, [workload])
    if expected == "between":
        assert why == "nothing can be told apart"
    else:
        assert why is not None and "isn't bracketed" in why


def test_a_closed_loop_says_no_capacity_and_its_loads_are_compared() -> None:
    asked = SCENARIO.model_copy(update={"load": Load(concurrency=(1, 8)), "objective": Objective()})
    found = ratios(machine("A", subject(asked)), machine("B", slower(subject(asked), 1.5)))
    assert ("capacity", "at the objective") not in found
    assert found["p99", "at concurrency 8"].ratio.value == pytest.approx(1.5)
    assert found["p99", "at concurrency 8"].standing == "more"
    assert found["throughput", "at concurrency 8"].standing == "not told apart"
    limited = asked.model_copy(update={"objective": Objective(p99_ms=200)})
    machines = [machine("A", subject(limited)), machine("B", subject(limited))]
    (workload,) = compared(machines, ())
    assert "closed loop" in workload.figures[0].capacity_why
    assert "isn't bracketed" in str(why_not_conclusive(machines, [workload]))


def test_a_search_that_recommends_nothing_is_named() -> None:
    machines = [
        machine("A", searched(subject())),
        machine("B", searched(subject(), recommended=None, best=None, why="no rate was measured")),
    ]
    found = compared(machines, ())
    assert found == ()
    assert why_not_conclusive(machines, found) == "a-run recommends nothing: no rate was measured"


def test_latency_is_compared_at_equal_load_and_along_the_front_where_both_were_measured() -> None:
    one, other = subject(), slower(subject(), 1.25)
    found = ratios(machine("A", one), machine("B", other))
    assert {at for metric, at in found if metric == "p99"} == {f"at {r}/s poisson" for r in (50, 100, 200)}
    assert all(
        each.ratio.value == pytest.approx(1.25) for (m, _), each in found.items() if m in ("p50", "p99")
    )
    assert not any(metric == "throughput" for metric, _ in found), "an open loop's is what was asked for"
    along = frontier_ratios(load_points([other.points]), load_points([one.points]))
    assert {each.percentile for each in along} == {"p50", "p99"}
    assert all(each.ratio.value == pytest.approx(1.25) for each in along)
    fewer = load_points([other.points[:2]])
    inside = frontier_ratios(fewer, load_points([one.points[1:]]))
    assert {each.throughput_per_s for each in inside} == {100.0}, "nothing is said beyond what both measured"


def test_between_two_measured_points_the_front_is_a_straight_line_of_logarithms() -> None:
    points = load_points([subject().points])
    low, middle, high = (point.p50_s.value or 0.0 for point in points)
    apart = [points[0], points[2]]
    (at_the_middle,) = [
        each
        for each in frontier_ratios(apart, points)
        if each.percentile == "p50" and each.throughput_per_s == 100.0
    ]
    assert at_the_middle.ratio.value == pytest.approx(math.sqrt(low * high) / middle)


def test_a_beaten_point_is_not_on_the_front() -> None:
    another = SCENARIO.model_copy(update={"load": Load(rate_per_s=150.0, arrivals="poisson")})
    points = load_points([(*subject().points, slower(subject(another), 3).points[0])])
    assert [point.load for point in frontier(points, "p99")] == [
        f"{rate}/s poisson" for rate in (50, 100, 200)
    ]


def energy(of: Subject, joules: float | None) -> Subject:
    def with_energy(point: PointResult) -> PointResult:
        assert point.gpu
        return point.model_copy(
            update={"gpu": (point.gpu[0].model_copy(update={"energy_j_per_inference": joules}),)}
        )

    points = tuple(with_energy(point) for point in of.run.points)
    return Subject(of.run.model_copy(update={"points": points}), of.environment, of.search)


def test_energy_is_compared_only_as_it_was_counted() -> None:
    one, other = (
        energy(searched(subject(), proven=PROVEN), 2.0),
        energy(searched(subject(), proven=PROVEN), 3.0),
    )
    found = ratios(machine("A", one), machine("B", other))["energy", "near its capacity"]
    assert (found.ratio, found.standing) == (Figure(value=1.5, low=None, high=None), "not known")
    assert "a counter has no interval" in str(found.why)
    uncounted = ratios(machine("A", one), machine("B", energy(other, None)))
    assert not any(metric == "energy" for metric, _ in uncounted)
    questions = unsaid([machine("B", energy(other, None))], compared([machine("B", energy(other, None))], ()))
    assert any(each.question == "How much energy does B take?" for each in questions)


def test_energy_is_that_of_the_gpus_that_computed() -> None:
    """A second GPU idles in the machine, beside the one that `server.gpus` names."""
    asked = SCENARIO.model_copy(update={"server": Server(max_batch=8, gpus=(0,))})
    one = energy(subject(asked), 2.0)
    gpus = one.run.points[0].gpu
    assert gpus
    idle = gpus[0].model_copy(update={"device": 1, "energy_j_per_inference": 40.0})
    both = with_point(one, 0, gpu=(*gpus, idle))
    assert load_points([both.points])[0].energy_j_per_inference.value == 2.0
    on_cpu = with_point(one, 0, execution_provider="CPUExecutionProvider")
    assert load_points([on_cpu.points])[0].energy_j_per_inference.value is None


def test_several_runs_give_energy_an_interval_and_are_one_figure() -> None:
    runs = [[energy(searched(subject(), proven=PROVEN), j + d) for d in (0, 0.01, 0.02)] for j in (2.0, 3.0)]
    found = ratios(machine("A", *runs[0]), machine("B", *runs[1]))["energy", "near its capacity"]
    assert found.standing == "more" and found.ratio.value == pytest.approx(1.5, rel=0.01)
    single = ratios(machine("A", runs[0][0]), machine("B", runs[1][0]))
    assert single["energy", "near its capacity"].standing == "not known"


def test_cost_is_by_the_user_s_price_and_throughput_by_gpu() -> None:
    one = machine("A", searched(subject(), proven=PROVEN), price=3.6, gpus=1)
    other = machine("B", searched(subject(), proven=Figure(value=300, low=290, high=330)), price=14.4, gpus=4)
    found = ratios(one, other)
    cost = found["cost", "at the objective"]
    assert cost.reference == pytest.approx(3.6 / (150 * 3600) * 1e6) and cost.ratio.value == pytest.approx(2)
    assert cost.standing == "more"
    (workload,) = compared([one, other], ())
    own = workload.figures[1].cost_per_million
    assert own.low and own.value and own.high and own.low < own.value < own.high
    per_gpu = found["capacity_per_gpu", "at the objective"]
    assert per_gpu.value == 75 and per_gpu.ratio.value == pytest.approx(0.5) and per_gpu.standing == "less"
    free = ratios(one, machine("B", searched(subject(), proven=PROVEN)))
    assert ("cost", "at the objective") not in free


def test_what_differs_is_weighed_by_what_computed() -> None:
    here = gpu_named("NVIDIA H100 80GB HBM3")
    there = gpu_named("NVIDIA L40S", driver="550.1", power_limit_w=350.0).model_copy(
        update={"kernel": "6.8", "os": "Ubuntu 24.04", "cpu": "AMD EPYC", "server_mode": "docker"}
    )
    weights = {each.name: each.weight for each in weighed([changes(here, there)], ["gpu", "gpu"])}
    assert weights == {
        "gpus.0.name": "subject",
        "cpu": "may explain",
        "kernel": "may explain",
        "server_mode": "may explain",
        "gpus.0.driver": "may explain",
        "gpus.0.power_limit_w": "may explain",
        "os": "hardly matters",
    }
    on_cpus = weighed([changes(here, there)], ["cpu", "cpu"])
    assert {each.name for each in on_cpus if each.weight == "subject"} == {"cpu"}
    of_provider = changes(here, here.model_copy(update={"execution_provider": "CPUExecutionProvider"}))
    assert [each.weight for each in weighed([of_provider], ["gpu", "cpu"])] == ["subject"]
    assert [each.weight for each in weighed([of_provider], ["gpu", "gpu"])] == ["may explain"]
    third = weighed([changes(here, there), {}], ["gpu", "gpu", "gpu"])
    assert third[0].values == ("NVIDIA H100 80GB HBM3", "NVIDIA L40S", "NVIDIA H100 80GB HBM3")


def test_runs_are_of_one_machine_where_nothing_differs_that_could_matter() -> None:
    here = environment(gpu=False)
    for field, value, alike in (
        ("os", "Debian 13", True),
        ("host", "bench-2", True),
        ("cpu", "another", False),
        ("kernel", "6.8", False),
        ("server_mode", "docker", False),
    ):
        there = here.model_copy(update={field: value})
        assert is_one_machine(changes(here, there), "cpu") is alike, field


def test_what_the_data_cannot_say_is_asked_of_each_machine() -> None:
    model = subject().run.model
    assert model is not None
    noted = subject(model=model.model_copy(update={"note": "random weights: speed only"}))
    machines = [machine("A", noted), machine("B", subject(), subject(), price=1.0)]
    said = {each.question: each.why for each in unsaid(machines, compared(machines, ()))}
    assert "one run of A," in said["Would another start, or another machine of the same kind, give the same?"]
    assert "price of A is given" in said["What does it cost?"]
    assert said["Does it hold of the model that will be served?"] == "random weights: speed only"
    assert "How fast is A with NVIDIA's C++ backend?" in said
    assert "How much does A serve under the objective?" in said


def test_a_percentile_that_one_machine_has_is_not_known_and_one_that_neither_has_is_no_row() -> None:
    latency = subject().run.points[0].latency_s.model_copy(update={"p99": None})
    open_ = with_point(subject(), 0, latency_s=latency)
    found = ratios(machine("A", open_), machine("B", subject()))["p99", "at 50/s poisson"]
    assert (found.reference, found.standing) == (None, "not known") and "doesn't support" in str(found.why)
    assert ("p99", "at 50/s poisson") not in ratios(machine("A", open_), machine("B", open_))


def test_a_point_that_never_became_steady_has_no_figures() -> None:
    points: Sequence[Any] = subject().points
    assert points[0].steady_state is not None
    never = with_point(subject(), 0, steady_state=points[0].steady_state.model_copy(update={"steady": False}))
    assert [point.load for point in load_points([never.points])] == ["100/s poisson", "200/s poisson"]
