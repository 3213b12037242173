"""`harness tune` on a real Triton: what it finds, and what becomes of it when things go wrong."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Finished, Workplace, ended, server_of, under_load, wait_for
from tests.nvml import NvmlDouble

TUNE = """\
model: slow.onnx
server: {max_batch: [1, 8], instances: [1, 2]}
requests:
  - {name: small, axes: {n: 16}}
load: {rate_per_s: 5}
objective: {p50_ms: 400}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, send_lag_ms: 10000, idle_users: 1, drift: 1000}
tune: {minutes: 1}
"""
"""A model of some 30 ms whatever the batch, so that batches pay: of four configurations those with batches of
8 serve several times as much as those of 1. Its p50 takes few requests."""

SHORT = TUNE.replace("minutes: 1", "minutes: 0.5")
"""Of what isn't about the answer: on a busy machine half a minute may be over before there is one."""


@pytest.fixture
def place(workplace: Workplace) -> Workplace:
    from tests.triton.models import slow

    slow(workplace.path)
    return workplace


def folder(place: Workplace) -> Path:
    (run,) = place.runs
    return run


def document(place: Workplace) -> dict[str, Any]:
    return dict(json.loads((folder(place) / "tune.json").read_text()))


def given_up_after_s(place: Workplace, step: dict[str, Any]) -> float:
    point = json.loads((folder(place) / "points" / step["point"] / "point.json").read_text())
    return float(point["point"]["measure"]["timeout_s"])


def found(done: Finished) -> dict[str, Any]:
    assert done.code == 0, f"{done.code}: {done.stderr}{done.stdout[:10_000]}"
    return done.document


@pytest.mark.alone  # beside others a batch of 30 ms was seen to take 446, and nothing held the objective
def test_a_search_finds_that_batches_pay_and_proves_it_within_its_time(place: Workplace) -> None:
    result = found(place.run("tune", place.scenario(TUNE), "--json"))
    best = result["candidates"][result["recommended"]]
    assert best["settings"]["server.max_batch"] == 8
    # On a busy machine the last of all measurements takes longer than those before it: that it began in time
    # is harness's.
    assert 0.5 * 60 < result["used_s"] < 1.05 * 60 + result["steps"][-1]["took_s"]
    assert result["proof"]["turns"] >= 1
    assert result["proof"]["over_default"] is None or result["proof"]["over_default"]["value"] > 0
    slower = [c for c in result["candidates"] if c["settings"]["server.max_batch"] == 1]
    assert all(c["standing"] in ("slower", "unlikely", "untried") for c in slower), slower
    assert len({step["point"] for step in result["steps"]}) == len(result["steps"])
    config = (folder(place) / "config.pbtxt").read_text()
    assert "max_batch_size: 8" in config
    assert "Where the objective ends" in (folder(place) / "tune.html").read_text()
    assert document(place) == result
    recommended = place.scenario((folder(place) / "recommended.yaml").read_text(), "recommended.yaml")
    planned = place.run("run", recommended, "--dry-run", "--json")
    assert planned.code == 0, planned.stderr
    assert len(planned.document["points"]) == 1


def test_a_killed_search_goes_on_with_nothing_measured_twice(place: Workplace) -> None:
    scenario = place.scenario(SHORT)
    process = place.start("tune", scenario)
    wait_for(lambda: place.runs and (folder(place) / "tune.json").exists() and document(place)["steps"])
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = document(place)
    assert before["finished_at"] is None
    place.run("tune", "--resume")
    result = document(place)
    assert len(result["steps"]) > len(before["steps"])
    assert result["steps"][: len(before["steps"])] == before["steps"]
    assert result["finished_at"] is not None
    assert len({step["point"] for step in result["steps"]}) == len(result["steps"])
    again = place.run("tune", str(folder(place)), "--resume")
    assert again.code == 2
    assert "came to its end" in again.stderr


def test_a_server_that_is_killed_costs_a_step_and_not_the_search(place: Workplace) -> None:
    process = place.start("tune", place.scenario(SHORT))
    under_load(place, process, 10)
    victim = server_of(process.pid)
    assert victim is not None
    victim.send_signal(signal.SIGKILL)
    ended(process)
    result = document(place)
    told = [step["told"] for step in result["steps"]]
    assert told.count("failed") == 1
    failed = told.index("failed")
    assert "SIGKILL" in result["steps"][failed]["reason"]
    assert told[failed + 1 :], "the search went on"
    assert result["finished_at"] is not None


def test_an_objective_that_nothing_holds_is_1_and_the_nearest_is_told(place: Workplace) -> None:
    done = place.run("tune", place.scenario(SHORT.replace("p50_ms: 400", "p50_ms: 1")))
    assert done.code == 1, done.stderr
    assert "no configuration holds the objective" in done.stdout
    assert "the nearest was" in done.stdout
    saturated, *at_a_rate = (step for step in document(place)["steps"] if step["users"] != 1)
    assert given_up_after_s(place, saturated) == 30, "what it serves is asked for, not how long one waits"
    assert at_a_rate and {given_up_after_s(place, step) for step in at_a_rate} == {2}
    assert not (folder(place) / "config.pbtxt").exists()


def test_what_cannot_be_searched_is_one_sentence(place: Workplace) -> None:
    for text, arguments, said in (
        (TUNE.replace("objective: {p50_ms: 400}\n", ""), (), "has no objective for latency"),
        (TUNE.replace("{n: 16}", "{n: [16, 32]}"), (), "several values of requests.small.axes.n"),
        (TUNE, ("--minutes", "0.2"), "a search takes 20 s at least"),
        (TUNE.replace("minutes: 1", "minuets: 3"), (), "minuets"),
    ):
        done = place.run("tune", place.scenario(text), *arguments)
        assert done.code == 2, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert not place.runs


LEAST = TUNE.replace("tune: {minutes: 1}", "tune: {minutes: 0.6, goal: GOAL, rate_per_s: 10}").replace(
    "p50_ms: 400", "p50_ms: 20000"
)
"""Under an objective that no machine is too busy for."""


def test_the_least_latency_at_a_rate(place: Workplace) -> None:
    """A queue delay of a second is in the requests' times, and nothing else makes a difference."""
    text = LEAST.replace("GOAL", "latency").replace(
        "{max_batch: [1, 8], instances: [1, 2]}", "{max_batch: 64, queue_delay_us: [0, 1000000]}"
    )
    done = place.run("tune", place.scenario(text), "--json", "--minutes", "1")
    result = found(done)
    assert (result["goal"], result["rate_per_s"]) == ("latency", 10)
    best, other = result["candidates"]
    assert result["recommended"] == best["number"] == 0 and best["capacity_per_s"]["value"] is None
    assert 0 < best["cost"]["value"] < other["cost"]["value"] and other["cost"]["value"] > 0.4
    assert {step["rate_per_s"] for step in result["steps"]} == {10}, "nothing else is measured"
    assert result["proof"]["costs"]["0"]["value"] == pytest.approx(best["cost"]["value"], rel=1.0)
    told = place.run("tune", "--resume").stderr
    assert "no unfinished search" in told
    scenario = (folder(place) / "recommended.yaml").read_text()
    assert "rate_per_s: 10" in scenario and "the 10 requests/s that it was searched for" in scenario


@pytest.mark.parametrize(("goal", "unit"), [("energy", "J/inference"), ("gpu_memory", "MB")])
def test_the_least_of_what_a_gpu_tells(
    place: Workplace, nvml_double: NvmlDouble, goal: str, unit: str
) -> None:
    text = LEAST.replace("GOAL", goal).replace(
        "{max_batch: [1, 8], instances: [1, 2]}", "{kind: cpu, max_batch: [4, 8]}"
    )
    refused = place.run("tune", place.scenario(text))
    assert refused.code == 2 and f"nothing tells the {goal.replace('_', ' ')} that is to be" in refused.stderr
    place.env |= nvml_double("")
    done = place.run("tune", place.scenario(text))
    assert done.code == 0, done.stderr
    assert f"{unit} (" in done.stdout and "at 10.0 requests/s" in done.stdout
