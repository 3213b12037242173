"""What limits real points.

Whether the cores have room is the machine's business. Where a name hangs on it, the point's own figures say
which of two it must be; a server at a URL has other cores, as far as harness knows.
"""

from __future__ import annotations

from typing import Any

from tests.e2e.conftest import ONE, TINY, Workplace, served

CORES_FULL = 0.9
SLOW = TINY.replace("[4, 8]", "8") + "objective: {p999_ms: 100000}\n"
"""A few dozen requests: whether their median is known is chance, and that their p99.9 isn't is certain."""


def point_of(workplace: Workplace, text: str, *arguments: str) -> dict[str, Any]:
    """The only point of a scenario, which can't be judged."""
    done = workplace.run("run", workplace.scenario(text), "--json", *arguments)
    assert done.code == 3, done.stderr
    (point,) = done.document["points"]
    return dict(point)


def full(point: dict[str, Any]) -> bool:
    host = point["host"]
    return bool(host["host_busy_cores"] >= CORES_FULL * host["cores"])


def test_one_user_is_limited_by_the_batcher_that_waits_for_others(workplace: Workplace) -> None:
    text = SLOW.replace("queue_delay_us: 5000", "queue_delay_us: 100000").replace("[2]", "1")
    delayed = point_of(workplace, text)
    assert delayed["bottleneck"]["name"] == "batching", delayed["bottleneck"]
    assert "100 ms" in delayed["bottleneck"]["why"]
    assert delayed["time_s"]["queue_s"] > 0.05


def test_one_user_of_two_instances_is_limited_by_the_load(workplace: Workplace) -> None:
    from tests.triton.models import slow

    slow(workplace.path)
    text = SLOW.replace("double", "slow").replace(
        "queue_delay_us: 5000, max_batch: 8", "max_batch: 1, instances: 2"
    )
    text = text.replace("[2]", "1")
    with served(workplace, "slow.onnx", "--max-batch", "1", "--instances", "2") as (at, _):
        limits = point_of(workplace, text, "--url", at["http"])["bottleneck"]
    assert limits["name"] == "load", limits
    assert "with 1 user" in limits["why"]


def test_eight_users_of_a_slow_model_are_limited_by_its_one_instance(workplace: Workplace) -> None:
    from tests.triton.models import slow

    slow(workplace.path)
    text = (
        SLOW.replace("double", "slow")
        .replace("queue_delay_us: 5000, max_batch: 8", "max_batch: 1")
        .replace("[2]", "8")
    )
    point = point_of(workplace, text)
    limits = point["bottleneck"]
    assert limits["name"] == ("compute" if full(point) else "instances"), limits
    assert "the instance was busy" in limits["why"]
    assert point["time_s"]["queue_s"] > 4 * point["time_s"]["compute_s"], "seven wait for the eighth"


def test_a_client_near_its_limit_is_named(workplace: Workplace) -> None:
    point = point_of(workplace, ONE.replace("client_cpu: 1", "client_cpu: 0.02"))
    assert point["bottleneck"]["name"] == "client", point["bottleneck"]
    assert "of a core" in point["bottleneck"]["why"]
