"""What a measured point tells a search."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harness.schema.expansion import point_at
from harness.schema.result import GpuFigures, Latency, ObjectiveCheck, PointResult, ServerFigures
from harness.schema.scenario import Objective, Scenario
from harness.schema.tune_result import Step
from harness.schema.tune_section import Tune
from harness.tuning.ask_and_tell import Alone, Barred, Failed, Served, Told, Unusable
from harness.tuning.capacity import Rated
from harness.tuning.told import as_step, limits, of_step, told
from tests.report import factory

SCENARIO = Scenario.model_validate(
    {
        "model": "minilm",
        "requests": ({"name": "text", "tokens": 16},),
        "load": {"rate_per_s": 50},
        "objective": {"p95_ms": 40.0, "p99_ms": 100.0, "errors": 0.01},
    }
)


def server(batch: float = 4.0) -> ServerFigures:
    return ServerFigures(
        requests=1000,
        inferences=1000,
        executions=250,
        failures=0,
        cache_hits=0,
        mean_batch=batch,
        request_s=0.03,
        queue_s=0.005,
        compute_input_s=0.001,
        compute_infer_s=0.02,
        compute_output_s=0.002,
    )


def latency(p95: float | None, p99: float | None, **more: Any) -> Latency:
    found: dict[str, Any] = {"p50": 0.01, "p90": 0.02, "p999": None, "mean": 0.012, "min": 0.001, "max": 1.0}
    intervals = {"p95": (0.9 * p95, 1.1 * p95)} if p95 else {}
    intervals |= {"p99": (0.8 * p99, 1.25 * p99)} if p99 else {}
    return Latency(**(found | {"p95": p95, "p99": p99, "interval_95": intervals} | more))


def at(load: dict[str, Any], **changed: Any) -> PointResult:
    result = factory.point_result(point_at(SCENARIO, load), verdict="valid", gpu=False)
    usual: dict[str, Any] = {
        "requests": 1000,
        "errors": 0,
        "reasons": (),
        "throughput_requests_per_s": 50.0,
        "throughput_inferences_per_s": 50.0,
        "throughput_interval_95": (48.0, 52.0),
        "latency_s": latency(0.03, 0.08),
        "objective": (),
        "server": server(),
        "gpu": None,
    }
    return result.model_copy(update=usual | changed)


def rated(**changed: Any) -> Rated:
    found = told(at({"load.rate_per_s": 50.0}, **changed), Tune())
    assert isinstance(found, Rated)
    return found


def test_the_limits_of_an_objective_are_seconds_by_share() -> None:
    assert limits(SCENARIO.objective) == {0.95: 0.04, 0.99: 0.1}
    assert limits(Objective(errors=0.1)) == {}


def test_at_a_rate_the_worst_of_all_limits_counts() -> None:
    assert rated().excess == pytest.approx(math.log(0.8))
    assert rated(latency_s=latency(0.06, 0.08)).excess == pytest.approx(math.log(1.5))
    assert rated().error == pytest.approx(math.log(1.25 / 0.8) / 2 / 1.96)


def test_a_percentile_that_is_not_supported_counts_by_its_sample_and_its_lower_limit() -> None:
    found = rated(latency_s=latency(0.01, None, sample={"p99": 0.15}, at_least={"p99": 0.12}))
    assert found.excess == pytest.approx(math.log(1.5))
    assert found.error == pytest.approx(math.log(0.15 / 0.12) / 1.645)


def test_failures_are_later_than_any_limit() -> None:
    missed = (ObjectiveCheck(name="p99_ms", limit=100.0, observed=None, met=False),)
    assert rated(errors=20, objective=missed).excess == 0.5
    too_many = (ObjectiveCheck(name="errors", limit=0.01, observed=0.02, met=False),)
    assert rated(errors=20, objective=too_many).excess == 0.5


def test_a_rate_at_which_many_fail_is_an_answer_whatever_else_follows_from_it() -> None:
    reasons = ("200 of 1000 requests failed", "the client couldn't keep up")
    missed = (ObjectiveCheck(name="p99_ms", limit=100.0, observed=None, met=False),)
    found = rated(verdict="invalid", reasons=reasons, errors=200, objective=missed)
    assert found.excess > 0


def test_a_point_that_is_invalid_otherwise_tells_nothing() -> None:
    point = at(
        {"load.rate_per_s": 50.0}, verdict="invalid", reasons=("other processes used 30%", "and so on")
    )
    assert told(point, Tune()) == Unusable("other processes used 30%")


def test_a_saturated_point_tells_what_was_served_and_in_which_batches() -> None:
    found = told(at({"load.concurrency": 16}), Tune())
    assert found == Served(50.0, pytest.approx(2 / 1.96), 4.0)


def test_a_single_user_tells_how_long_a_request_takes_alone() -> None:
    assert told(at({"load.concurrency": 1}, server=server(1.0)), Tune()) == Alone(1.0, pytest.approx(0.023))
    assert isinstance(told(at({"load.concurrency": 1}, server=None), Tune()), Unusable)


def test_a_constraint_that_is_passed_bars_the_configuration() -> None:
    gpu = GpuFigures(
        device=0,
        name="a GPU",
        utilization_mean=None,
        memory_bytes_max=9_000_000_000,
        power_w_mean=310.0,
        energy_j=None,
        energy_j_per_inference=None,
        temperature_c_max=None,
        sm_clock_hz_mean=None,
        throttle_reasons=None,
    )
    point = at({"load.rate_per_s": 50.0}, gpu=(gpu,))
    assert isinstance(told(point, Tune()), Rated)
    assert told(point, Tune(gpu_memory_mb=8000)) == Barred("it held 9000 MB of GPU 0, over 8000 MB")
    assert told(point, Tune(gpu_power_w=300)) == Barred("GPU 0 drew 310 W, over 300 W")


@pytest.mark.parametrize(
    "what",
    [
        Served(100.0, 2.0, 7.5),
        Alone(1.0, 0.01),
        Rated(50.0, -0.2, 0.1, 3.0, 0.02),
        Unusable("noise"),
        Failed("SIGKILL"),
        Barred("too large"),
    ],
)
def test_a_step_keeps_what_was_told(what: Told) -> None:
    step = Step(
        number=1,
        stage="search",
        candidate=0,
        rate_per_s=50.0 if isinstance(what, Rated) else None,
        users=None if isinstance(what, Rated) else 1,
        seconds=2.0,
        why="",
        point=None,
        took_s=3.0,
        **as_step(what),
    )
    assert of_step(Step.model_validate_json(step.model_dump_json())) == what
