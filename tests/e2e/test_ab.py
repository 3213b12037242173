"""`harness ab` on two real Tritons side by side: what it finds, and what becomes of it when things fail."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import harness
from tests.e2e.conftest import Finished, Workplace, ended, wait_for

AB = """\
model: slow.onnx
server: {max_batch: 1}
requests:
  - {name: small, axes: {n: 16}}
load: {concurrency: 1}
regression:
  minutes_per_point: 1
  round_s: 2
  margins: {throughput: 0.5, p50: 0.6, p99: 0.9, error_rate: 0.5}
validity: {client_cpu: 1, send_lag_ms: 10000, idle_users: 1}
"""
"""Margins that a busy machine's noise doesn't reach, and a model of twice the work does."""


@pytest.fixture
def place(workplace: Workplace) -> Workplace:
    from tests.triton.models import slow

    slow(workplace.path, steps=2)
    slow(workplace.path, steps=6, name="slower")
    return workplace


def folder(place: Workplace) -> Path:
    (found,) = place.runs
    return found


def document(place: Workplace) -> dict[str, Any]:
    return dict(json.loads((folder(place) / "ab.json").read_text()))


def outcomes(done: Finished) -> dict[str, str]:
    (point,) = done.document["points"]
    return {each["metric"]: each["outcome"] for each in point["metrics"]}


@pytest.mark.alone  # it judges what harness says of times
def test_equal_arms_pass_and_all_that_was_measured_is_kept(place: Workplace) -> None:
    done = place.run("ab", place.scenario(AB), "--json")
    assert done.code == 0, f"{done.stderr}{done.stdout[:5000]}"
    assert set(outcomes(done).values()) == {"pass"} and len(outcomes(done)) == 4
    assert done.document["differs"] == {}
    assert document(place) == done.document
    values = {each["metric"]: each["baseline"] for each in done.document["points"][0]["metrics"]}
    in_flight = values["throughput"] * values["p50"]
    assert 0.5 < in_flight < 1.5, "throughput is of the time in which it was its turn"
    (point,) = done.document["points"]
    for arm in ("baseline", "candidate"):
        points = sorted((folder(place) / arm / "points").iterdir())
        assert len(points) == point["rounds"] >= 3
        assert len({each.name for each in points}) == point["rounds"]
    samples = harness.samples(folder(place) / "candidate", points[0].name)
    assert len(samples) > 3 and set(samples["status"]) == {"ok"}
    shown = place.run("report", folder(place) / "candidate")
    assert shown.code == 0, shown.stderr
    assert "Nothing: the arms are equal" in (folder(place) / "ab.html").read_text()


@pytest.mark.alone
def test_a_slower_model_regresses_and_compute_is_named(place: Workplace) -> None:
    one = place.scenario(AB, "one.yaml")
    done = place.run("ab", one, place.scenario(AB.replace("slow.onnx", "slower.onnx"), "two.yaml"))
    assert done.code == 1, f"{done.stderr}{done.stdout}"
    assert "p50: regressed: +" in done.stdout
    assert "moved: compute +" in done.stdout
    assert "model slow.onnx → slower.onnx" in done.stdout
    assert document(place)["outcome"] == "regressed"


@pytest.mark.alone
def test_a_configuration_of_one_file_is_compared_under_an_open_loop(place: Workplace) -> None:
    from tests.triton.models import double

    double(place.path)
    text = AB.replace("concurrency: 1", "rate_per_s: 8, arrivals: poisson").replace("p50: 0.6", "p50: 0.9")
    done = place.run(
        "ab", place.scenario(text.replace("slow.onnx", "double.onnx")), "--json",
        "--candidate-set", "server.max_batch=8", "--candidate-set", "server.queue_delay_us=800000",
    )  # fmt: skip
    assert done.code == 1, f"{done.code} {done.stderr}{done.stdout[:5000]}"
    assert outcomes(done)["p50"] == "regressed" and "throughput" not in outcomes(done)
    (point,) = done.document["points"]
    assert point["moved"][0]["part"] == "queue"
    assert done.document["differs"]["server.max_batch"] == ["1", "8"]


def test_two_tritons_side_by_side(place: Workplace, tritonserver: Path) -> None:
    """One round says nothing, but which servers were compared."""
    place.env["PATH"] = f"{tritonserver}:/usr/bin:/bin"
    done = place.run(
        "ab", place.scenario(AB), "--candidate-server", "binary", "--minutes-per-point", "0.01", "--json"
    )
    assert done.code == 3, f"{done.stdout}{done.stderr}"
    assert done.document["differs"]["server_mode"] == ["embedded", "binary"]
    modes = [arm["environment"]["server_mode"] for arm in done.document["arms"]]
    assert modes == ["embedded", "binary"]
    assert done.document["points"][0]["left_out"] == {}
    done = place.run("ab", place.scenario(AB), "--candidate-image", "someone/triton@sha256:" + 64 * "0")
    assert done.code == 2 and "--server docker" in done.stderr, done.stderr


def test_one_after_the_other_where_two_have_no_room(place: Workplace) -> None:
    process = place.start("ab", place.scenario(AB), "--apart")
    most = 0
    wait_for(lambda: place.runs and (folder(place) / "ab.json").exists() and document(place)["points"])
    while process.poll() is None and document(place)["points"][0]["rounds"] < 2:
        most = max(most, len(_servers(process.pid)))
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert most == 1, "no two servers lived at once"
    assert document(place)["in_turns"] is False


def test_a_killed_comparison_keeps_its_rounds(place: Workplace) -> None:
    process = place.start("ab", place.scenario(AB.replace("p50: 0.6", "p50: 0.001")))
    wait_for(lambda: place.runs and (folder(place) / "ab.json").exists())
    process.send_signal(signal.SIGINT)
    done = ended(process)
    found = document(place)
    assert found["finished_at"] is None and found["points"][0]["rounds"] >= 1, done.stderr
    assert list((folder(place) / "baseline" / "points").glob("*/requests.parquet"))


def test_a_server_that_is_killed_costs_a_round_and_not_the_comparison(place: Workplace) -> None:
    process = place.start("ab", place.scenario(AB))
    victim = wait_for(lambda: _loaded(place, process.pid))
    victim.send_signal(signal.SIGKILL)
    done = ended(process)
    (point,) = document(place)["points"]
    assert document(place)["finished_at"] is not None, done.stderr
    assert point["rounds"] >= 1
    assert any("SIGKILL" in why for why in point["left_out"]), point


def test_what_cannot_be_compared_is_one_sentence(place: Workplace) -> None:
    one = place.scenario(AB, "one.yaml")
    for text, arguments, said in (
        (AB.replace("concurrency: 1", "concurrency: 2"), (), "differ in their load"),
        (AB.replace("max_batch: 1", "max_batch: [1, 2]"), (), "has 1 points and two 2"),
        (AB + "protocol: grpc\n", (), "differ in their protocol"),
        (AB.replace("concurrency: 1", "ramp: {from_per_s: 1, to_per_s: 9}"), ("--set", "seed=2"), "load"),
        (AB.replace("round_s", "rounds"), (), "rounds"),
        (AB, ("--set", "shared_memory=system"), "set shared_memory to none, or give --apart"),
    ):
        done = place.run("ab", one, place.scenario(text, "two.yaml"), *arguments)
        assert done.code == 2, f"{text}: {done.stderr}{done.stdout}"
        assert said in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    assert not any((run / "ab.json").exists() for run in place.runs)


def _servers(pid: int) -> list[psutil.Process]:
    """The Tritons that the harness with this process id has started and that live."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if child.name() == "tritonserver" and child.status() != psutil.STATUS_ZOMBIE:
                    parent = child.parent()
                    # What it forks has its name for a moment.
                    if parent is None or parent.name() != "tritonserver":
                        found.append(child)
    return found


def _loaded(place: Workplace, pid: int) -> psutil.Process | None:
    """A server of the comparison while it is under load."""
    if not list(place.path.glob("results/*/baseline/points/*/load/*.spool")):
        return None
    return next(iter(_servers(pid)), None)
