"""What limits real points. Whether the cores have room is the machine's business, and the result says it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import MEASURED, TINY, Workplace

pytestmark = pytest.mark.alone

CORES_FULL = 0.9


def points_of(workplace: Workplace, text: str) -> list[dict[str, Any]]:
    done = workplace.run("run", workplace.scenario(text), "--json")
    assert done.code in MEASURED, done.stderr
    return list(done.document["points"])


def full(point: dict[str, Any]) -> bool:
    host = point["host"]
    return bool(host["host_busy_cores"] >= CORES_FULL * host["cores"])


def test_one_user_is_limited_by_the_load_until_the_batcher_waits_for_others(workplace: Workplace) -> None:
    text = TINY.replace("{max_batch: [1, 8]}", "{max_batch: 8, queue_delay_us: [0, 100000]}")
    prompt, delayed = points_of(workplace, text.replace("[2]", "1"))
    assert delayed["bottleneck"]["name"] == "batching", delayed["bottleneck"]
    assert "100 ms" in delayed["bottleneck"]["why"]
    assert delayed["time_s"]["queue_s"] > 0.05
    limits = prompt["bottleneck"]
    if not full(prompt) and limits["name"] != "network":
        assert limits["name"] == "load", limits
        assert "with 1 user" in limits["why"]
    assert limits["name"] in ("load", "compute", "network"), limits


def test_eight_users_of_a_slow_model_are_limited_by_its_one_instance(workplace: Workplace) -> None:
    from tests.triton.models import slow

    slow(workplace.path)
    text = TINY.replace("double", "slow").replace("[1, 8]", "1").replace("[2]", "8")
    (point,) = points_of(workplace, text)
    limits = point["bottleneck"]
    assert limits["name"] == ("compute" if full(point) else "instances"), limits
    assert "the instance was busy" in limits["why"]
    assert point["time_s"]["queue_s"] > 4 * point["time_s"]["compute_s"], "seven wait for the eighth"


def test_a_client_near_its_limit_is_named(workplace: Workplace) -> None:
    strict = TINY.replace("[1, 8]", "8").replace("client_cpu: 1", "client_cpu: 0.02")
    (point,) = points_of(workplace, strict)
    assert point["bottleneck"]["name"] == "client", point["bottleneck"]
    assert "of a core" in point["bottleneck"]["why"]
