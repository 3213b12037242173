"""`harness tune` on a real Triton: what it finds, and what becomes of it when things go wrong."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Finished, Workplace, ended, server_of, under_load, wait_for

TUNE = """\
model: slow.onnx
server: {max_batch: [1, 8], instances: [1, 2]}
requests:
  - {name: small, axes: {n: 16}}
load: {rate_per_s: 5}
objective: {p50_ms: 400}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, send_lag_ms: 10000, idle_users: 1, drift: 1000}
tune: {minutes: 0.5}
"""
"""A model of some 30 ms whatever the batch, so that batches pay: of four configurations those with batches of
8 serve several times as much as those of 1. Its p50 takes few requests."""


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


def found(done: Finished) -> dict[str, Any]:
    assert done.code == 0, f"{done.code}: {done.stderr}{done.stdout[:10_000]}"
    return done.document


def test_a_search_finds_that_batches_pay_and_proves_it_within_its_time(place: Workplace) -> None:
    result = found(place.run("tune", place.scenario(TUNE), "--json"))
    best = result["candidates"][result["recommended"]]
    assert best["settings"]["server.max_batch"] == 8
    # On a busy machine the last of all measurements takes longer than those before it.
    assert 0.5 * 30 < result["used_s"] <= 1.05 * 30 + 3
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
    scenario = place.scenario(TUNE)
    process = place.start("tune", scenario)
    wait_for(lambda: place.runs and (folder(place) / "tune.json").exists() and document(place)["steps"])
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = document(place)
    assert before["finished_at"] is None
    result = found(place.run("tune", "--resume", "--json"))
    assert result["steps"][: len(before["steps"])] == before["steps"]
    assert result["finished_at"] is not None
    assert len({step["point"] for step in result["steps"]}) == len(result["steps"])
    again = place.run("tune", str(folder(place)), "--resume")
    assert again.code == 2
    assert "came to its end" in again.stderr


def test_a_server_that_is_killed_costs_a_step_and_not_the_search(place: Workplace) -> None:
    process = place.start("tune", place.scenario(TUNE), "--json")
    under_load(place, process, 10)
    victim = server_of(process.pid)
    assert victim is not None
    victim.send_signal(signal.SIGKILL)
    result = found(ended(process))
    failed = [step for step in result["steps"] if step["told"] == "failed"]
    assert len(failed) == 1
    assert "SIGKILL" in failed[0]["reason"]
    assert result["best"] is not None


def test_an_objective_that_nothing_holds_is_1_and_the_nearest_is_told(place: Workplace) -> None:
    done = place.run("tune", place.scenario(TUNE.replace("p50_ms: 400", "p50_ms: 1")), "--minutes", "0.35")
    assert done.code == 1, done.stderr
    assert "no configuration holds the objective" in done.stdout
    assert "the nearest was" in done.stdout
    assert not (folder(place) / "config.pbtxt").exists()


def test_what_cannot_be_searched_is_one_sentence(place: Workplace) -> None:
    for text, arguments, said in (
        (TUNE.replace("objective: {p50_ms: 400}\n", ""), (), "has no objective for latency"),
        (TUNE.replace("{n: 16}", "{n: [16, 32]}"), (), "several values of requests.small.axes.n"),
        (TUNE, ("--minutes", "0.2"), "a search takes 20 s at least"),
        (TUNE.replace("minutes: 0.5", "minuets: 3"), (), "minuets"),
    ):
        done = place.run("tune", place.scenario(text), *arguments)
        assert done.code == 2, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert not place.runs
