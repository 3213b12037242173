"""Each name of the limiter's rule, where one ends and the next begins, and what it says without a figure."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.limiter import BUSY, limiter
from harness.schema.result import GpuEnvironment, Limiter, LimiterName, ServerFigures, TimeSplit
from tests.analysis.samples import facts, gpu, host, load_process, observed, point, server, time_split

ROOM = host(host_busy_cores=0.7)
FULL = host(host_busy_cores=1.9, server_cpu_cores=1.6)


def named(
    *,
    users: int | None = None,
    busy: float = 0.4,
    queue_s: float = 0.0,
    on: dict[str, Any] | None = None,
    seen: dict[str, Any] | None = None,
    **told: Any,
) -> Limiter:
    """Of a point whose instance is busy that share of 10 s, 10 ms an execution, with that queue."""
    executions = round(busy * 1000)
    figures = server(
        executions, queue_s=queue_s, compute_input_s=0.001, compute_infer_s=0.008, compute_output_s=0.001
    )
    service_s = 0.0105 + queue_s
    split = time_split(client_s=0.0, network_s=0.0005, queue_s=queue_s, compute_s=0.008)
    load = {"rate_per_s": 100} if users is None else {"concurrency": users}
    facts_ = facts(
        executions, **({"server": figures, "service_mean_s": service_s, "time_s": split, "host": ROOM} | told)
    )
    limits = limiter(
        point(load=load, server={"max_batch": 8} | (on or {})),
        observed(executions, host_cores=2, **(seen or {})),
        facts_,
    )
    assert limits is not None
    return limits


def gpu_environment(device: int) -> GpuEnvironment:
    unknown = dict.fromkeys(
        ("memory_bytes", "driver", "cuda_driver", "power_limit_w", "persistence", "ecc", "mig")
    )
    return GpuEnvironment(device=device, name="a GPU", uuid=f"GPU-{device}", **unknown)


def test_an_open_loop_that_keeps_up_is_limited_by_nothing() -> None:
    assert named().name == "nothing"
    assert "busy 40%" in named().why


def test_a_closed_loop_with_idle_instances_is_limited_by_its_load() -> None:
    assert named(users=1).name == "load"
    assert "1 user:" in named(users=1).why
    assert named(users=4, queue_s=0.02).name == "load", "four who come at once wait for each other"


def test_busy_instances_that_are_waited_for_with_room_beside_them_are_the_limit() -> None:
    limits = named(users=8, busy=0.98, queue_s=0.05)
    assert limits.name == "instances"
    assert "busy 98%" in limits.why and "0.7 of 2 cores" in limits.why


@pytest.mark.parametrize(("executions_busy", "name"), [(BUSY + 0.01, "instances"), (BUSY - 0.01, "load")])
def test_the_limit_of_busy(executions_busy: float, name: str) -> None:
    assert named(users=8, busy=executions_busy, queue_s=0.05).name == name


def test_twice_the_instances_are_half_as_busy() -> None:
    assert named(users=8, busy=0.98, queue_s=0.05, on={"instances": 2}).name == "load"
    assert named(users=8, busy=1.9, queue_s=0.05, on={"instances": 2}).name == "instances"


@pytest.mark.parametrize(
    ("kind", "gpus", "name"),
    [("gpu", 2, "load"), ("auto", 2, "load"), ("auto", 0, "instances"), ("cpu", 2, "instances")],
)
def test_each_gpu_has_that_many_instances(kind: str, gpus: int, name: str) -> None:
    here = tuple(gpu_environment(device) for device in range(gpus))
    limits = named(users=8, busy=0.98, queue_s=0.05, on={"kind": kind}, seen={"gpus": here})
    assert limits.name == name


def test_busy_instances_on_cores_or_a_gpu_without_room_are_limited_by_compute() -> None:
    full = named(users=8, busy=0.98, queue_s=0.05, host=FULL)
    assert full.name == "compute"
    assert "1.9 of 2 cores were busy, 1.6 of them with the server" in full.why
    gpus: dict[str, Any] = {"on": {"kind": "gpu"}}
    hot = named(users=8, busy=0.98, queue_s=0.05, gpu=(gpu(utilization_mean=0.97),), **gpus)
    assert (hot.name, "97%" in hot.why) == ("compute", True)
    cool = named(users=8, busy=0.98, queue_s=0.05, gpu=(gpu(utilization_mean=0.4),), **gpus)
    assert (cool.name, "40%" in cool.why) == ("instances", True)


def test_a_quota_smaller_than_the_machine_is_a_saturated_device() -> None:
    quota = named(users=8, busy=0.98, queue_s=0.05, seen={"cores": 1}, host=host(server_cpu_cores=0.95))
    assert quota.name == "compute"
    assert "of the 1 cores it may use" in quota.why


def test_busy_instances_that_nothing_waits_for_are_the_models_own_time() -> None:
    alone = named(users=1, busy=0.98)
    assert alone.name == "compute"
    assert "own time" in alone.why


def test_cores_without_room_limit_even_where_the_instances_idle() -> None:
    assert named(users=8, host=FULL).name == "compute"


def test_an_open_loop_whose_bursts_wait_for_idle_instances_needs_more_of_them() -> None:
    assert named(busy=0.5, queue_s=0.006).name == "instances"
    assert named(busy=0.5, queue_s=0.004).name == "nothing"
    assert named(busy=0.5, queue_s=0.006, host=FULL).name == "compute"


def test_a_queue_that_is_the_batchers_delay_is_batching() -> None:
    delayed = {"queue_delay_us": 100_000}
    for users in (1, None):
        limits = named(users=users, busy=0.09, queue_s=0.1, on=delayed)
        assert limits.name == "batching"
        assert "100 ms" in limits.why and "1.0 of 8" in limits.why
    for queue_s in (0.049, 0.151):
        assert named(users=1, busy=0.09, queue_s=queue_s, on=delayed).name == "load", "another time"
    full = server(90, queue_s=0.1, mean_batch=8.0)
    assert named(users=1, busy=0.09, queue_s=0.1, on=delayed, server=full).name == "load", "full batches"
    short = named(users=1, busy=0.3, queue_s=0.001, on={"queue_delay_us": 1000})
    assert short.name == "load", "a delay that hardly shows"


def test_a_wire_that_takes_half_of_the_time_is_the_network() -> None:
    for users in (1, None):
        limits = named(users=users, service_mean_s=0.025, time_s=time_split(client_s=0.0, network_s=0.014))
        assert limits.name == "network"
        assert "14 ms of 25 ms" in limits.why
    assert named(users=1, service_mean_s=0.025, time_s=time_split(network_s=0.012)).name == "load"


def test_the_client_is_the_limit_near_its_own_limit_or_by_its_lag() -> None:
    assert named(users=8, seen={"load_processes": (load_process(1), load_process(8.2, 1))}).name == "client"
    assert named(users=8, seen={"load_processes": (load_process(8.0),)}).name == "load"
    late = named(time_s=time_split(client_s=0.005))
    assert (late.name, "32% of the mean latency of 16 ms" in late.why) == ("client", True)
    assert named(time_s=time_split(client_s=0.003)).name == "nothing"


def test_answers_from_the_cache_leave_the_instances_idle() -> None:
    cached = server(
        9000, executions=0, cache_hits=9000, mean_batch=None, request_s=0.0001, queue_s=0.00005,
        compute_input_s=None, compute_infer_s=None, compute_output_s=None,
    )  # fmt: skip
    split = TimeSplit(
        client_s=0.0, network_s=0.0002, queue_s=0.00005, input_s=None, compute_s=None, output_s=None
    )
    limits = named(users=1, server=cached, time_s=split, service_mean_s=0.0003)
    assert limits.name == "network"
    assert "0.20 ms of 0.30 ms" in limits.why


@pytest.mark.parametrize("users", [8, None])
def test_what_was_not_observed_is_said(users: int | None) -> None:
    elsewhere = host(server_cpu_cores=None)
    for host_ in (None, elsewhere):
        assert "not observed" in named(users=users, busy=0.98, queue_s=0.05, host=host_).why
        assert "not observed" in named(users=users, host=host_).why


def test_without_tritons_statistics_only_the_client_can_be_named() -> None:
    blind = facts(server=None)
    assert limiter(point(), observed(1000), blind) is None
    busy = observed(1000, load_processes=(load_process(9.9),))
    assert limiter(point(), busy, blind) == Limiter(name="client", why="load process 0 used 99% of a core")


NEVER_NONE = {"requests", "errors", "latency", "service", "steady", "time_s", "objective"}
OPTIONAL = sorted({f.name for f in fields(facts())} - NEVER_NONE)
seconds = st.none() | st.floats(0, 1e3)
counts = st.integers(0, 10**7)


@given(
    without=st.sets(st.sampled_from(OPTIONAL)),
    figures=st.builds(
        ServerFigures, requests=counts, inferences=counts, executions=counts, failures=counts,
        cache_hits=counts, mean_batch=seconds, request_s=seconds, queue_s=seconds, compute_input_s=seconds,
        compute_infer_s=seconds, compute_output_s=seconds,
    ),
    split=st.builds(TimeSplit, **dict.fromkeys(TimeSplit.model_fields, seconds)),
    utilization=seconds,
    load=st.sampled_from([{"concurrency": 1}, {"concurrency": 64}, {"rate_per_s": 5}]),
    kind=st.sampled_from(["cpu", "gpu", "auto"]),
    delay_us=st.integers(0, 10**6),
)  # fmt: skip
def test_whatever_was_observed_it_gives_a_name_or_none_and_never_fails(
    without: set[str],
    figures: ServerFigures,
    split: TimeSplit,
    utilization: float | None,
    load: dict[str, Any],
    kind: str,
    delay_us: int,
) -> None:
    told: dict[str, Any] = {"server": figures, "time_s": split, "gpu": (gpu(utilization_mean=utilization),)}
    asked = point(load=load, server={"kind": kind, "queue_delay_us": delay_us})
    limits = limiter(asked, observed(1000), facts(**told | dict.fromkeys(without)))
    assert limits is None or (limits.name in get_args(LimiterName) and limits.why)
    if limits is not None and limits.name != "client" and "host" in without and kind == "cpu":
        assert "not observed" in limits.why
