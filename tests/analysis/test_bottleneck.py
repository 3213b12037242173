"""Each name of the bottleneck's rule, where one ends and the next begins, and what it says of no figure."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.bottleneck import BUSY, bottleneck
from harness.schema.result import (
    Bottleneck,
    BottleneckName,
    ComposingModel,
    GpuEnvironment,
    ServerFigures,
    TimeSplit,
)
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
) -> Bottleneck:
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
    limits = bottleneck(
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


ON_GPU: dict[str, Any] = {"on": {"kind": "gpu"}, "users": 8, "busy": 0.98}


@pytest.mark.parametrize(
    ("activity", "name", "says"),
    [
        ({"sm_activity_mean": 0.91}, "compute", "SMs were active 91% of the time"),
        ({"sm_activity_mean": 0.89}, "instances", "while the GPU's SMs were active 89%"),
        ({"sm_activity_mean": 0.3, "dram_activity_mean": 0.81}, "compute", "81% of its memory bandwidth"),
        ({"sm_activity_mean": 0.3, "dram_activity_mean": 0.79}, "instances", "79% of its memory bandwidth"),
        ({"sm_activity_mean": 0.95, "tensor_activity_mean": 0.4}, "compute", "its tensor cores 40%"),
    ],
)
def test_a_gpu_is_full_by_its_activity_and_not_by_its_utilization(
    activity: dict[str, float], name: str, says: str
) -> None:
    """NVML's utilization is 97% in all of these."""
    limits = named(**ON_GPU, queue_s=0.05, gpu=(gpu(utilization_mean=0.97, **activity),))
    assert (limits.name, says in limits.why) == (name, True), limits.why
    assert "97%" not in limits.why


def test_the_models_own_time_on_a_gpu_is_told_apart_by_how_much_of_the_gpu_it_fills() -> None:
    def why(**figures: Any) -> str:
        limits = named(**ON_GPU, gpu=(gpu(utilization_mean=0.97, **figures),))
        assert limits.name == "compute"
        return limits.why

    assert "too small to fill it, or wait for launches and copies" in why(sm_activity_mean=0.2)
    assert "SMs were active 20% of the time" in why(sm_activity_mean=0.2)
    full = why(sm_activity_mean=0.96)
    assert "SMs were active 96%" in full and "too small" not in full
    assert why().endswith("the model's own time"), "without activities nothing is made up"


def test_only_the_gpus_that_the_point_uses_are_looked_at() -> None:
    full, idle = gpu(sm_activity_mean=0.95), gpu(device=1, sm_activity_mean=0.1)
    on: dict[str, Any] = {"users": 8, "busy": 0.98, "queue_s": 0.05, "gpu": (full, idle)}
    seen = {"gpus": tuple(gpu_environment(device) for device in range(4))}
    assert named(**on, on={"kind": "gpu", "gpus": [0]}, seen=seen).name == "compute"
    assert named(**on, on={"kind": "gpu", "gpus": [1]}, seen=seen).name == "instances"
    mine = gpu(device=0, mig_instance=3, sm_activity_mean=0.95, server_memory_bytes_max=2**30)
    other = gpu(device=0, mig_instance=5, sm_activity_mean=0.1)
    parted = named(users=8, busy=0.98, queue_s=0.05, gpu=(mine, other), on={"kind": "gpu"})
    assert parted.name == "compute", "the MIG device on which the server's memory was seen"


def test_instances_are_counted_on_the_gpus_that_get_some() -> None:
    four = {"gpus": tuple(gpu_environment(device) for device in range(4))}
    on = {"users": 8, "busy": 1.9, "queue_s": 0.05, "seen": four}
    assert named(**on, on={"kind": "gpu", "gpus": [2, 3]}).name == "instances"
    assert named(**on, on={"kind": "gpu"}).name == "load", "half as busy on four"
    parts = (gpu_environment(0), *(gpu_environment(0).model_copy(update={"mig_instance": i}) for i in (1, 2)))
    parted = named(users=8, busy=0.98, queue_s=0.05, on={"kind": "gpu"}, seen={"gpus": parts})
    assert parted.name == "instances", "MIG devices are no further GPUs"


def test_where_the_cpu_computed_after_all_the_gpus_count_for_nothing() -> None:
    two = {"gpus": (gpu_environment(0), gpu_environment(1)), "execution_provider": "CPUExecutionProvider"}
    full = gpu(utilization_mean=0.99, sm_activity_mean=0.99)
    limits = named(users=8, busy=0.98, queue_s=0.05, gpu=(full,), on={"kind": "auto"}, seen=two)
    assert limits.name == "instances" and "GPU" not in limits.why
    cuda = two | {"execution_provider": "CUDAExecutionProvider"}
    assert (
        named(users=8, busy=1.9, queue_s=0.05, gpu=(full,), on={"kind": "auto"}, seen=cuda).name == "compute"
    )


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
    assert bottleneck(point(), observed(1000), blind) is None
    busy = observed(1000, load_processes=(load_process(9.9),))
    assert bottleneck(point(), busy, blind) == Bottleneck(
        name="client", why="load process 0 used 99% of a core"
    )


NEVER_NONE = {"requests", "errors", "latency", "service", "steady", "time_s", "gpu_watch", "objective"}
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
    activity=seconds,
    load=st.sampled_from([{"concurrency": 1}, {"concurrency": 64}, {"rate_per_s": 5}]),
    kind=st.sampled_from(["cpu", "gpu", "auto"]),
    delay_us=st.integers(0, 10**6),
)  # fmt: skip
def test_whatever_was_observed_it_gives_a_name_or_none_and_never_fails(
    without: set[str],
    figures: ServerFigures,
    split: TimeSplit,
    utilization: float | None,
    activity: float | None,
    load: dict[str, Any],
    kind: str,
    delay_us: int,
) -> None:
    busy = gpu(utilization_mean=utilization, sm_activity_mean=activity, dram_activity_mean=activity)
    told: dict[str, Any] = {"server": figures, "time_s": split, "gpu": (busy,)}
    asked = point(load=load, server={"kind": kind, "queue_delay_us": delay_us})
    limits = bottleneck(asked, observed(1000), facts(**told | dict.fromkeys(without)))
    assert limits is None or (limits.name in get_args(BottleneckName) and limits.why)
    if limits is not None and limits.name != "client" and "host" in without and kind == "cpu":
        assert "not observed" in limits.why


def working(model: str, busy: float, queue_s: float = 0.0) -> ComposingModel:
    """In 10 s, 10 ms an execution."""
    executions = round(busy * 1000)
    times = {"compute_input_s": 0.001, "compute_infer_s": 0.008, "compute_output_s": 0.001}
    return ComposingModel(model=model, instances=1, server=server(executions, queue_s=queue_s, **times))


def test_of_an_ensemble_the_busiest_composing_model_is_named() -> None:
    parts = (working("tokenize", 0.3), working("encode", 0.9, queue_s=0.02))
    found = named(seen={"several": True, "composing": parts})
    assert found.name == "instances" and found.why.startswith("encode: the instance was busy 90%")
    idle = named(seen={"several": True, "composing": (working("tokenize", 0.3), working("encode", 0.5))})
    assert idle.name == "nothing" and idle.why.startswith("encode: ")


def test_a_model_that_asks_others_is_named_itself_unless_one_of_them_is_busy() -> None:
    waits = {"busy": 0.95, "queue_s": 0.02}
    own = named(seen={"composing": (working("asked", 0.5),)}, **waits)
    assert own.name == "instances" and own.why.startswith("the instance was busy 95%")
    theirs = named(seen={"composing": (working("asked", 0.9, queue_s=0.02),)}, **waits)
    assert theirs.name == "instances" and theirs.why.startswith("asked: the instance was busy 90%")
