"""Each gate once past its limit and once short of it, by the figures it is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.analysis.facts import Facts
from harness.analysis.gates.all_gates import GATES
from harness.analysis.gates.gate import Evidence
from harness.analysis.gpu import GpuWatch
from harness.analysis.validity import Judgement, judge
from harness.schema.observed import Observed
from harness.schema.point import Point
from harness.schema.result import AnswerCheck, GpuProbe, LoadProcess, ObjectiveCheck
from harness.schema.samples import REQUEST, Measured
from tests.analysis.samples import (
    facts,
    gpu,
    host,
    latency,
    load_process,
    observed,
    point,
    server,
    steady_state,
)

CLOSED = {"load": {"concurrency": 8}}


def answers(different: int, largest_error: float | None = None) -> AnswerCheck:
    return AnswerCheck(compared=100, different=different, largest_error=largest_error, tolerance=1e-4)


def by_gates(asked: Point, seen: Observed, told: Facts) -> Judgement:
    return judge(Evidence(asked, seen, told, Measured.of(np.zeros(0, REQUEST))), GATES)


def judged(seen: dict[str, Any] | None = None, told: dict[str, Any] | None = None, **asked: Any) -> Judgement:
    """A good point with these changes to what was observed, to its facts, and to what was asked for."""
    return by_gates(point(**asked), observed(1000, host_cores=2, **(seen or {})), facts(**(told or {})))


def test_a_point_with_nothing_wrong_is_valid_without_a_word() -> None:
    assert judged() == Judgement("valid", (), ())
    assert judged(told={"in_flight_mean": 7.9}, **CLOSED) == Judgement("valid", (), ())


def served(**changes: Any) -> dict[str, Any]:
    return {"server": server(1000, **changes)}


def on_host(**changes: Any) -> dict[str, Any]:
    return {"host": host(**changes)}


def probe(cpu_cores: float | None) -> GpuProbe:
    return GpuProbe(source="nvml", readings=200, interval_s=0.05, cpu_cores=cpu_cores)


def on_gpu(**changes: Any) -> dict[str, Any]:
    return {"gpu": (gpu(), gpu(device=1, **changes))}


def watched(*, seen: float = 1.0, lost: bool = False) -> dict[str, Any]:
    """The second of two GPUs."""
    good = GpuWatch(device=0, mig_instance=None, seen=1.0, lost=False)
    return {"gpu_watch": (good, GpuWatch(device=1, mig_instance=None, seen=seen, lost=lost))}


CPU = {"execution_provider": "CPUExecutionProvider"}
"""What `kind: auto` comes to where CUDA can't be used."""

LOST = load_process(None, 1, host="node7", lost="it was killed by signal 9")
QUOTA = "CPU quota of this control group held its processes back, by 0.05 cores"

INVALID: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("the server was killed", {"ended": "the server was killed"}, {}, {}),
    ("load process 1 on node7 was lost", {"load_processes": (load_process(1), LOST)}, {}, {}),
    ("killed by signal 9", {"load_processes": (load_process(1), LOST)}, {}, {}),
    ("started anew during the point: its counter fell", {"server_restarted": "its counter fell"}, {}, {}),
    ("no request ended", {}, {"requests": 0}, {}),
    ("51 of 1000 requests failed", {}, {"errors": 51, "server": server(1000, failures=51)}, {}),
    ("counted 1000 answers and Triton 999", {}, {"server": server(999)}, {}),
    ("3 answers came from a response cache", {}, served(cache_hits=3), {}),
    ("used 91% of a core", {"load_processes": (load_process(9.1),)}, {}, {}),
    ("load process 1 on here used 95%", {"load_processes": (load_process(1), load_process(9.5, 1))}, {}, {}),
    ("1% of the requests were sent 5.1 ms late", {}, {"send_lag_p99_s": 0.0051}, {}),
    ("2 of 100 answers that were compared differ", {"answer_check": answers(2)}, {}, {}),
    ("by up to 0.5 of its largest value (tolerance 0.0001)", {"answer_check": answers(100, 0.5)}, {}, {}),
    ("1 of 100 answers", {"answer_check": answers(1)}, {}, {"validity": {"different_answers": 0}}),
    ("on average 6.1 of 8 users", {}, {"in_flight_mean": 6.1}, CLOSED),
    ("on average 7.1 of 8 users", {}, {"in_flight_mean": 7.1}, CLOSED | {"validity": {"idle_users": 0.1}}),
    ("9.0 requests were in flight, and 8 users", {}, {"in_flight_mean": 9.0}, CLOSED),
    ("Triton had a request for 7.00 ms", {}, served(request_s=0.007), {}),
    ("processes used 13.0% of this machine's 2 cores, over 10%", {}, on_host(foreign_cpu_cores=0.26), {}),
    ("the hypervisor gave 7.5% of this machine's 2 cores", {}, on_host(stolen_cpu_cores=0.15), {}),
    (QUOTA, {}, on_host(throttled_cpu_cores=0.05), {}),
    ("GPU 1 slowed itself down (hw_slowdown)", {}, on_gpu(throttle_reasons=("hw_slowdown",)), {}),
    ("sw_thermal_slowdown", {}, on_gpu(throttle_reasons=("sw_power_cap", "sw_thermal_slowdown")), {}),
    ("hw_thermal_slowdown", {}, on_gpu(throttle_reasons=("hw_thermal_slowdown",)), {}),
    ("hw_power_brake", {}, on_gpu(throttle_reasons=("hw_power_brake_slowdown",)), {}),
    ("GPU 1 was used by other processes (x (7))", {}, on_gpu(foreign_processes=("x (7)",)), {}),
    ("GPU 1 MIG 3 was used by", {}, on_gpu(mig_instance=3, foreign_processes=("x (7)",)), {}),
    ("GPU 1 counted 1 uncorrected memory error:", {}, on_gpu(ecc_errors=1), {}),
    ("counted 2 uncorrected memory errors:", {}, on_gpu(ecc_errors=2), {"server": {"gpus": [1]}}),
    ("GPU 1 was lost during the point", {}, watched(lost=True), {}),
    ("GPU 1 was lost", {"execution_provider": "TensorrtExecutionProvider"}, watched(lost=True), {}),
    ("GPU 1 was lost during the point", {}, watched(lost=True, seen=0.1), {"server": {"gpus": [0, 1]}}),
]


@pytest.mark.parametrize(("says", "seen", "told", "asked"), INVALID, ids=[case[0] for case in INVALID])
def test_past_its_limit_a_gate_makes_the_point_invalid_and_says_why(
    says: str, seen: dict[str, Any], told: dict[str, Any], asked: dict[str, Any]
) -> None:
    bad = judged(seen, told, **asked)
    assert bad.verdict == "invalid"
    (reason,) = bad.reasons
    assert says in reason


@pytest.mark.parametrize(
    ("seen", "told", "asked"),
    [
        ({}, {"errors": 50, "server": server(1000, failures=50)}, {}),
        ({}, {"errors": 300, "server": server(1000, failures=300)}, {"validity": {"errors": 0.3}}),
        ({"load_processes": (load_process(8.9), load_process(8.9, 1))}, {}, {}),
        ({"load_processes": (load_process(None),)}, {}, {}),
        ({"load_processes": (load_process(9.9),)}, {}, {"validity": {"client_cpu": 1}}),
        ({}, {"send_lag_p99_s": 0.0049}, {}),
        ({}, {"send_lag_p99_s": 0.09, "latency": latency(1.0)}, {}),
        ({}, {"send_lag_p99_s": 0.09}, {"validity": {"send_lag_ms": 100}}),
        ({}, {"send_lag_p99_s": None}, {}),
        ({"answer_check": answers(0)}, {}, {}),
        ({"answer_check": answers(100)}, {}, {"validity": {"different_answers": 1}}),
        ({}, {"in_flight_mean": 6.5}, CLOSED),
        ({}, {"in_flight_mean": 5.0}, CLOSED | {"validity": {"idle_users": 0.4}}),
        ({}, {"in_flight_mean": 0.1}, CLOSED | {"validity": {"idle_users": 1}}),
        ({}, {"in_flight_mean": 8.1}, CLOSED),
        ({}, {"in_flight_mean": None}, CLOSED),
        ({}, {"in_flight_mean": 6.1}, {}),
        ({}, served(request_s=0.0063), {}),
        ({}, {"service_mean_s": 0.0001, "server": server(1000, request_s=0.001)}, {}),
        ({}, served(request_s=None), {}),
        ({}, on_host(foreign_cpu_cores=0.19), {}),
        ({}, on_host(stolen_cpu_cores=None), {}),
        ({}, on_host(foreign_cpu_cores=2.1), {"validity": {"foreign_cpu": 1}}),
        ({}, on_host(foreign_cpu_cores=0.9), {"validity": {"foreign_cpu": 0.5}}),
        ({}, on_host(stolen_cpu_cores=0.09), {}),
        ({}, on_host(stolen_cpu_cores=2.1), {"validity": {"stolen_cpu": 1}}),
        ({}, on_host(throttled_cpu_cores=0.03), {}),
        ({}, {"host": None}, {}),
        ({}, on_gpu(foreign_processes=None, throttle_reasons=None), {}),
        ({}, on_gpu(throttle_reasons=("applications_clocks_setting", "sync_boost")), {}),
        ({}, on_gpu(foreign_processes=("x (7)",)), {"validity": {"foreign_gpu": True}}),
        ({}, on_gpu(foreign_processes=("x (7)",)), {"server": {"kind": "cpu"}}),
        ({}, on_gpu(throttle_reasons=("hw_slowdown",)), {"server": {"kind": "cpu"}}),
        ({}, on_gpu(throttle_reasons=("hw_slowdown", "sw_power_cap")), {"server": {"gpus": [0]}}),
        ({}, on_gpu(foreign_processes=("x (7)",)), {"server": {"gpus": [0]}}),
        ({}, on_gpu(ecc_errors=3, energy_j=1.0, energy_j_by_power=9.0), {"server": {"gpus": [0]}}),
        (CPU, on_gpu(foreign_processes=("x (7)",), throttle_reasons=("sw_power_cap", "hw_slowdown")), {}),
        (CPU, watched(lost=True, seen=0.5), {}),
        ({"execution_provider": "CUDAExecutionProvider"}, on_gpu(foreign_processes=()), {}),
        ({}, watched(lost=True), {"server": {"gpus": [0]}}),
        ({}, watched(lost=True), {"server": {"kind": "cpu"}}),
        ({}, watched(seen=0.5), {"server": {"gpus": [0]}}),
        ({}, watched(seen=0.91), {}),
        ({}, on_gpu(ecc_errors=0), {}),
        ({}, on_gpu(energy_j=100.0, energy_j_by_power=109.0), {}),
        ({}, on_gpu(energy_j=100.0, energy_j_by_power=91.0), {}),
        ({}, on_gpu(energy_j=0.0, energy_j_by_power=91.0), {}),
        ({"gpu_probe": probe(0.01)}, {}, {}),
        ({"gpu_probe": probe(None)}, {}, {}),
    ],
)
def test_short_of_its_limit_or_let_pass_by_the_scenario_a_gate_is_silent(
    seen: dict[str, Any], told: dict[str, Any], asked: dict[str, Any]
) -> None:
    good = judged(seen, told, **asked)
    assert (good.verdict, good.reasons) == ("valid", ())
    told_of = "requests failed" if "errors" in told else "answers that were compared differ"
    assert all(told_of in note for note in good.notes)


def test_the_share_of_others_is_of_the_whole_machine_and_not_of_what_harness_may_use() -> None:
    told = on_host(foreign_cpu_cores=0.9)
    assert by_gates(point(), observed(1000, host_cores=16), facts(**told)).verdict == "valid"
    assert by_gates(point(), observed(1000), facts(**told)).verdict == "invalid", (
        "unknown: what harness may use"
    )


def test_counts_are_not_compared_where_the_point_ended_early_or_triton_said_nothing() -> None:
    early = judged({"ended": "the server was killed"}, {"server": server(7)})
    assert early.reasons == ("the server was killed",)
    silent = judged(told={"server": None})
    assert silent.verdict == "valid"
    assert "could not be read" in silent.notes[0]


def test_a_lost_load_process_that_ended_the_point_is_named_once() -> None:
    ended = "load process 1 on node7: it was killed by signal 9"
    assert judged({"ended": ended, "load_processes": (load_process(1), LOST)}).reasons == (ended,)


def test_several_gates_are_all_named() -> None:
    bad = judged({"server_restarted": "so"}, on_host(foreign_cpu_cores=1.0, stolen_cpu_cores=1.0))
    assert len(bad.reasons) == 3


UNSURE: list[tuple[str, dict[str, Any]]] = [
    ("12 requests are too few", {"requests": 12, "server": server(12), "latency": latency(None)}),
    ("never steady: it grew", {"steady": steady_state(False, "it grew")}),
    (
        "p99_ms can't be judged",
        {"objective": (ObjectiveCheck(name="p99_ms", limit=10, observed=None, met=None),)},
    ),
]


@pytest.mark.parametrize(("says", "told"), UNSURE, ids=[case[0] for case in UNSURE])
def test_what_is_not_wrong_but_not_enough_is_inconclusive(says: str, told: dict[str, Any]) -> None:
    unsure = judged(told=told)
    assert unsure.verdict == "inconclusive"
    (reason,) = unsure.reasons
    assert says in reason
    spoiled = judged({"server_restarted": "so"}, told)
    assert spoiled.verdict == "invalid", "what is wrong stands above what is not enough"
    assert not any(says in reason for reason in spoiled.reasons)


@pytest.mark.parametrize("steady", [True, None])
def test_steady_or_not_to_be_told_is_no_reason(steady: bool | None) -> None:
    assert judged(told={"steady": steady_state(steady)}).verdict == "valid"


def test_an_objective_whose_limit_lies_inside_the_interval_is_no_matter_of_validity() -> None:
    check = ObjectiveCheck(name="p99_ms", limit=10, observed=0.010, met=None)
    assert judged(told={"objective": (check,)}).verdict == "valid"


PRECISE = {"measure": {"at_most_s": 20, "precision": {"p50": 0.05}}}


@pytest.mark.parametrize(
    ("says", "seen", "told", "asked"),
    [
        ("from the response cache, as asked", {}, served(cache_hits=3), {"server": {"response_cache": True}}),
        ("GPU 1 ran at its power cap", {}, on_gpu(throttle_reasons=("sw_power_cap",)), {}),
        (
            "100 J by its counter, which is taken, and 89 J",
            {},
            on_gpu(energy_j=100, energy_j_by_power=89),
            {},
        ),
        ("and 111 J by its power readings", {}, on_gpu(energy_j=100, energy_j_by_power=111), {}),
        ("only 45% of the measured phase was watched on GPU 1:", {}, watched(seen=0.45), {}),
        ("reading the GPUs took 1.1% of a core", {"gpu_probe": probe(0.011)}, {}, {}),
        ("what the GPU did was not observed: no NVML here", {}, {}, {"server": {"kind": "gpu"}}),
        ("as narrow as measure.precision asks", {"stopped_by": "time"}, {}, PRECISE),
        ("other processes used was not observed", {}, on_host(foreign_cpu_cores=None), {}),
        ("too small, or too correlated, for a p99", {}, {"latency": latency(p99=None)}, {}),
        (
            "3 requests were sent again on a new connection",
            {
                "load_processes": (
                    LoadProcess(worker=0, host="here", pid=1, requests=100, resent=3, cpu_s=0.1),
                )
            },
            {},
            {},
        ),
        ("a problem of observing", {"problems": ("a problem of observing",)}, {}, {}),
    ],
)
def test_what_a_reader_should_know_is_a_note_and_leaves_the_point_valid(
    says: str, seen: dict[str, Any], told: dict[str, Any], asked: dict[str, Any]
) -> None:
    noted = judged(seen, told, **asked)
    assert noted.verdict == "valid"
    (note,) = noted.notes
    assert says in note


@pytest.mark.parametrize("stopped_by", ["precision", "duration", None])
def test_a_point_that_was_not_cut_off_has_no_note_on_its_precision(stopped_by: str | None) -> None:
    assert judged({"stopped_by": stopped_by}, **PRECISE).notes == ()
    assert judged({"stopped_by": "time"}).notes == (), "nothing was asked for"
