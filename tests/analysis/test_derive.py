from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.analysis import queueing
from harness.analysis.derive import derive
from harness.analysis.precision import enough
from harness.schema.observed import ArmObserved, Observed
from harness.schema.result import GpuProbe, PointResult
from harness.schema.samples import GpuProcess, GpuReading, Measured, Phase, Requests, Status
from harness.schema.turns import Turns
from tests.analysis import readings
from tests.analysis.samples import load_process, observed, point, requests, server


def result(
    sample: Requests, facts: Any = None, *, texts: tuple[str, ...] = (), **changes: Any
) -> PointResult:
    ok = int(np.count_nonzero((sample["status"] == Status.OK) & (sample["phase"] == Phase.MEASURE)))
    return derive(
        point(**changes), facts or observed(ok), Measured.of(sample), texts, [], [], samples="points/x"
    )


def steady(n: int = 1000, **how: Any) -> Requests:
    return requests(np.random.default_rng(1).exponential(0.005, n) + 0.001, **how)


def test_a_good_point_is_valid() -> None:
    good = result(steady())
    assert (good.verdict, good.reasons, good.errors, good.requests) == ("valid", (), 0, 1000)
    assert good.throughput_inferences_per_s == pytest.approx(100, rel=0.02)
    assert good.latency_s.p99 is not None


def test_the_warm_up_counts_in_nothing() -> None:
    sample = np.concatenate([requests(np.full(50, 9.0)), steady()])
    sample["phase"][:50] = Phase.WARMUP
    assert result(sample).latency_s == result(steady()).latency_s
    assert result(sample).requests == 1000


def test_a_batch_counts_as_that_many_inferences() -> None:
    batched = result(steady(), requests=[{"name": "short", "tokens": 16, "batch": 8}])
    assert batched.throughput_inferences_per_s == pytest.approx(
        8 * result(steady()).throughput_requests_per_s
    )


def test_latency_counts_from_the_intended_send_and_service_from_the_actual_one() -> None:
    late = result(steady(lag_s=0.0005), load={"rate_per_s": 100})
    assert late.latency_s.mean - late.service_s.mean == pytest.approx(0.0005)
    assert late.send_lag_p99_s == pytest.approx(0.0005)


def test_errors_are_counted_by_reason_and_their_times_are_no_latencies() -> None:
    sample = steady()
    sample["status"][:10] = Status.REFUSED
    sample["reason"][:10] = 1
    sample["completed_ns"][:10] += 10**12
    some = result(sample, observed(990), texts=("HTTP 503: busy",))
    assert (some.verdict, some.errors, some.error_reasons) == ("valid", 10, {"HTTP 503: busy": 10})
    assert some.latency_s.max < 1


def test_where_only_the_whole_time_in_triton_is_known_the_rest_is_the_network() -> None:
    parts = dict.fromkeys(("compute_input_s", "compute_infer_s", "compute_output_s"))
    cached = server(
        1000, executions=0, inferences=0, cache_hits=1000, mean_batch=None, request_s=0.0002, **parts
    )
    split = result(steady(), observed(1000, server=cached)).time_s
    whole = result(steady(), observed(1000)).time_s
    assert split is not None and whole is not None and whole.network_s is not None
    assert split.network_s == pytest.approx(steady_service_s() - 0.0002)
    assert whole.network_s == pytest.approx(steady_service_s() - 0.0047)
    assert split.compute_s is None


def steady_service_s() -> float:
    sample = steady()
    return float(np.mean(sample["completed_ns"] - sample["sent_ns"])) / 1e9


def spoiled(sample: Requests) -> Requests:
    sample["status"][:60] = Status.TIMEOUT
    return sample


@pytest.mark.parametrize(
    ("sample", "facts", "says"),
    [
        (steady(), {"ended": "the server was killed (signal 9)"}, "killed"),
        (steady()[:0], {}, "no request"),
        (steady(), {"server": server(999)}, "counted 1000 answers and Triton 999"),
        (steady(), {"load_processes": (load_process(9.5),)}, "measured itself"),
        (spoiled(steady()), {"server": server(940)}, "60 of 1000 requests failed"),
    ],
)
def test_each_gate_makes_the_point_invalid(sample: Requests, facts: dict[str, Any], says: str) -> None:
    bad = result(sample, observed(int(sample.size), **facts))
    assert bad.verdict == "invalid"
    assert any(says in reason for reason in bad.reasons), bad.reasons


@pytest.mark.parametrize(
    ("by_triton", "verdict"), [(989, "invalid"), (990, "valid"), (1000, "valid"), (1001, "invalid")]
)
def test_triton_may_have_answered_what_the_client_had_given_up(by_triton: int, verdict: str) -> None:
    sample = steady()
    sample["status"][:10] = Status.TIMEOUT
    found = result(sample, observed(1000, server=server(by_triton)))
    assert found.verdict == verdict, found.reasons
    sample["status"][:10] = Status.CONNECTION
    lost = result(sample, observed(1000, server=server(by_triton)))
    assert lost.verdict == ("valid" if by_triton == 990 else "invalid"), lost.reasons


def test_what_was_observed_of_the_gpus_reaches_the_result_and_its_verdict() -> None:
    sample = steady()
    probe = GpuProbe(source="nvml", readings=300, interval_s=0.05, cpu_cores=0.002)
    seen = observed(
        1000,
        gpus=(readings.device(),),
        window_ns=(readings.BOOT_NS, readings.BOOT_NS + 10 * 10**9),
        idle_ns=(readings.BOOT_NS - 3 * 10**9, readings.BOOT_NS - 10**9),
        load_processes=(load_process(0.1, pid=100),),
        gpu_probe=probe,
        execution_provider="CUDAExecutionProvider",
    )
    own, load = GpuProcess(10, "tritonserver", 3), GpuProcess(100, "python", 5)
    on_it = {"processes": (own, load), "foreign_processes": ()}
    watched = [
        readings.gpu(t / 4, max(25.0 * t, 100.0 * t), utilization=float(t > 0), **on_it)
        for t in range(-12, 45)
    ]

    def of(gpu: list[GpuReading], facts: Observed = seen) -> PointResult:
        return derive(point(), facts, Measured.of(sample), (), [], gpu, samples="points/x")

    good = of(watched)
    assert good.gpu is not None and (good.verdict, good.gpu_probe) == ("valid", probe)
    assert good.execution_provider == "CUDAExecutionProvider"
    assert good.gpu[0].idle_power_w == pytest.approx(100.0)
    assert good.gpu[0].energy_j_per_inference == pytest.approx(4.0)
    assert good.gpu[0].server_memory_bytes_max == 3, "without the load process's"
    turns = Turns(arms=2, seed=1, block_s=None)
    arm = ArmObserved(number=0, turns=turns, start_ns=readings.BOOT_NS)
    shared = of(watched, seen.model_copy(update={"arm": arm}))
    assert shared.gpu is not None and shared.gpu[0].energy_j == good.gpu[0].energy_j
    for name in ("energy_j_per_inference", "idle_energy_j_per_inference", "server_memory_bytes_max"):
        assert getattr(good.gpu[0], name) is not None and getattr(shared.gpu[0], name) is None
        assert "arms that take turns share the GPU" in shared.gpu[0].unsupported[name]
    lost = of([*watched[:20], readings.gpu(2.05)])
    assert (lost.verdict, lost.reasons[0][:14]) == ("invalid", "GPU 0 was lost")
    bare = of([], observed(1000))
    assert (bare.gpu, bare.gpu_probe, bare.verdict) == (None, None, "valid")


def test_two_load_processes_may_use_a_core_each() -> None:
    assert (
        result(steady(), observed(1000, load_processes=(load_process(4.75), load_process(4.75, 1)))).verdict
        == "valid"
    )


def test_a_client_that_sends_late_is_found_out() -> None:
    bad = result(steady(lag_s=0.02), load={"rate_per_s": 100})
    assert bad.verdict == "invalid"
    assert "couldn't keep up" in bad.reasons[0]


def test_a_backlog_that_grows_is_never_steady() -> None:
    growing = result(requests(np.linspace(0.001, 5, 1000)), load={"rate_per_s": 100})
    assert growing.verdict == "inconclusive"
    assert "never steady" in growing.reasons[0]


def test_too_few_requests_for_the_objective_are_inconclusive() -> None:
    few = result(steady(100), objective={"p99_ms": 200})
    assert few.verdict == "inconclusive"
    assert few.latency_s.p99 is None
    assert few.objective[0].met is None


def test_every_one_of_enough_requests_under_the_limit_meets_it_without_a_percentile() -> None:
    sample = steady(450)
    sample["completed_ns"][-8:] += 10**9
    for limit, met, verdict in ((5000, True, "valid"), (500, None, "inconclusive")):
        some = result(sample, objective={"p99_ms": limit})
        assert some.latency_s.p99 is None
        assert (some.objective[0].met, some.verdict) == (met, verdict)


@pytest.mark.parametrize(
    ("objective", "met"),
    [
        ({"p99_ms": 100}, True), ({"p99_ms": 2}, False), ({"p50_ms": 4.5}, None), ({"errors": 0}, True),
        ({"throughput_per_s": 50}, True), ({"throughput_per_s": 500}, False),
    ],
)  # fmt: skip
def test_the_objective_is_met_missed_or_not_to_be_told(objective: dict[str, float], met: bool | None) -> None:
    (check,) = result(steady(), objective=objective).objective
    assert check.met is met, check
    assert check.observed is not None


def test_a_failed_request_is_over_every_limit() -> None:
    """4.5% fail at once, and none of the others is near the limit."""
    sample = steady(2000)
    failed = np.arange(2000) % 22 == 7
    sample["status"][failed] = Status.REFUSED
    some = result(sample, observed(int((~failed).sum())), objective={"p99_ms": 500})
    assert (some.verdict, some.reasons) == ("valid", ())
    assert some.latency_s.p99 < 0.1
    (check,) = some.objective
    assert (check.met, check.observed) == (False, None)
    (note,) = [note for note in some.notes if "failed" in note]
    assert note.startswith(f"{failed.sum()} of 2,000 requests failed: latency is of those that succeeded;")
    few = sample.copy()
    few["status"] = Status.OK
    few["status"][:2] = Status.REFUSED
    (check,) = result(few, observed(1998), objective={"p99_ms": 500}).objective
    assert check.met, "two of 2,000 are fewer than 1%"


def test_what_a_look_found_enough_is_what_the_figures_are_of() -> None:
    """Requests that were sent after the look, which found a p99, would leave none."""
    sample = steady(1000)
    sample["completed_ns"][-20:] += 10**9
    assert result(sample).latency_s.p99 is None
    enough_ns = int(sample["intended_ns"][980])
    whole = result(sample, observed(1000, enough_ns=enough_ns))
    seen = result(sample[:980], observed(980, seconds=9.8))
    assert whole.latency_s == seen.latency_s and whole.latency_s.p99 is not None
    assert whole.throughput_inferences_per_s == seen.throughput_inferences_per_s
    assert whole.requests == 1000 and whole.verdict == "valid"
    assert whole.steady_state is not None and whole.steady_state.counted == slice(0, 980)
    assert whole.classes[0].requests == 1000 and whole.classes[0].latency_s == whole.latency_s


def test_no_point_ends_early_without_what_it_stopped_for() -> None:
    """Looks at a queue as it goes on, each 25% longer: whatever comes after the look that ended it."""
    asked = point(load={"rate_per_s": 125}, measure={"duration_s": 2, "at_most_s": 60})
    ended = 0
    for seed in range(40):
        rng = np.random.default_rng([11, seed])
        due = np.cumsum(rng.exponential(0.008, 9000))
        took = queueing.finishes(due, rng.exponential(0.003, due.size)) - due
        sample = requests(took)
        sample["intended_ns"] = sample["sent_ns"] = (due * 1e9).astype(np.int64)
        sample["completed_ns"] = sample["intended_ns"] + (took * 1e9).astype(np.int64)
        measured = Measured.of(sample)
        for looks in range(12):
            at_ns = int(2e9 * 1.25**looks)
            if at_ns > measured.intended_ns[-1]:
                break
            if enough(asked, measured.due_before(at_ns)):
                last = int(np.searchsorted(measured.intended_ns, at_ns + 0.6e9))  # sent before it was told
                found = derive(
                    asked,
                    observed(last, enough_ns=at_ns),
                    Measured.of(sample[:last]),
                    (),
                    [],
                    [],
                    samples="x",
                )
                assert found.latency_s.p99 is not None
                ended += 1
                break
    assert ended >= 20


def test_deriving_twice_gives_the_same() -> None:
    assert result(steady()) == result(steady())
