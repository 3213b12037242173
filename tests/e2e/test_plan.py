"""`harness plan` on a real Triton: what it measures, and what becomes of it when things go wrong."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import Workplace, ended, server_of, under_load

pytestmark = pytest.mark.triton

PLAN = """\
model: double.onnx
server: {max_batch: 8, queue_delay_us: 5000}
requests:
  - {name: small, axes: {n: 16}, weight: 3}
  - {name: large, axes: {n: 4000}, weight: 1}
load: {concurrency: 1}
measure: {duration_s: 1}
objective: {p50_ms: 200}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, send_lag_ms: 10000, idle_users: 1, drift: 1000}
plan: {rate_per_s: 2000, headroom: 0.5}
"""
"""An objective that hardly any rate misses: the answer doesn't depend on what else the machine does."""


def test_what_is_lacking_is_measured_then_planned_and_verified(workplace: Workplace) -> None:
    done = workplace.run("plan", workplace.scenario(PLAN), "--observe", "--verify", "--json")
    (run,) = workplace.runs
    result = json.loads((run / "plan.json").read_text())
    assert done.document == result
    (found,) = result["hardware"]
    assert found["replicas"] is not None, found["why"]
    assert found["replicas"]["low"] <= found["replicas"]["value"] <= found["replicas"]["high"]
    assert {each["request"] for each in found["service"]} == {"small", "large"}
    assert len(found["trust"]["checks"]) >= 3 and found["capacity_per_s"]["value"] > 0
    (check,) = result["verification"]
    assert check["rate_per_s"] == pytest.approx(2000 / found["replicas"]["value"], rel=0.01)
    assert check["percentile"] == "p50" and check["low_s"] <= check["high_s"] and check["why"]
    assert done.code == (1 if check["held"] is False else 0), done.stderr
    points = {path.name for path in (run / "points").iterdir()}
    assert check["point"] in points and len(points) == 12, (
        "two for each class, one for both, six rates, one more"
    )
    assert (run / "plan.html").exists()
    again = workplace.run("plan", "scenario.yaml", "--from", run, "--json")
    assert again.code == 0, again.stderr
    (planned,) = again.document["hardware"]
    assert planned["points_used"] + sum(planned["left_out"].values()) == 12, "the verified one is read, too"


def test_a_server_that_is_killed_spoils_its_point_and_what_is_missing_is_told(workplace: Workplace) -> None:
    process = workplace.start("plan", workplace.scenario(PLAN), "--observe", "--json")
    under_load(workplace, process)
    victim = server_of(process.pid)
    assert victim is not None
    victim.send_signal(signal.SIGKILL)
    done = ended(process)
    assert done.code == 3, done.stderr
    (found,) = done.document["hardware"]
    assert found["why"].startswith("no single user sent small by itself"), "it was the first point"
    assert any("SIGKILL" in why for why in found["left_out"]), found["left_out"]
    assert found["points_used"] + sum(found["left_out"].values()) == 11, (
        "the others were measured all the same"
    )


def test_without_anything_measured_the_remedy_is_named(workplace: Workplace) -> None:
    refused = workplace.run("plan", workplace.scenario(PLAN))
    assert refused.code == 2 and not workplace.runs, refused.stdout
    assert (
        "results has no finished run or search of scenario: measure it with `harness tune`" in refused.stderr
    )
    several = workplace.scenario(PLAN.replace("max_batch: 8", "max_batch: [4, 8]"))
    refused = workplace.run("plan", several, "--observe")
    assert refused.code == 2 and "has 2 configurations, and a plan is of one" in refused.stderr
    assert not Path(workplace.path / "results").exists()
