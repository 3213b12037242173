"""`harness nightly`: a baseline, nights beside it, what is accepted, and what happens when things fail."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness.verdict.anytime import LEAST_ROUNDS
from tests.e2e.conftest import Finished, Workplace, ended, wait_for
from tests.e2e.test_ab import AB
from tests.triton.models import slow

NIGHT = AB.replace("round_s: 2", "round_s: 2\n  wait_minutes: 0")


@pytest.fixture
def place(workplace: Workplace) -> Workplace:
    slow(workplace.path, steps=2)
    workplace.scenario(NIGHT, "models.yaml")
    workplace.lock_for_itself()
    return workplace


def nights(place: Workplace) -> list[Path]:
    return sorted(file.parent for file in place.path.glob("results/*/nightly.json"))


def night(place: Workplace, *more: str) -> Finished:
    return place.run("nightly", "models.yaml", *more)


def whole_night(place: Workplace, *more: str) -> Finished:
    """A night of as many minutes as it takes here until enough rounds count: servers start slowly on a busy
    machine."""
    for minutes in ("0.4", "1.5", "6"):
        done = night(place, "--minutes-per-point", minutes, *more)
        if any(point["rounds"] >= LEAST_ROUNDS for point in document(nights(place)[-1])["stored"]["points"]):
            return done
    raise AssertionError(f"too few rounds count in 6 minutes: {done.stdout}{done.stderr}")


def document(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "nightly.json").read_text()))


@pytest.mark.alone  # it judges what harness says of times
def test_a_baseline_a_quiet_night_a_slower_model_and_its_acceptance(place: Workplace) -> None:
    first = night(place)
    assert first.code == 0, first.stderr
    assert "there was no baseline: this build is it from now on" in first.stdout
    same = night(place)
    assert same.code == 0, f"{same.stdout}{same.stderr}"
    assert "night: pass: after" in same.stdout and "differs in: nothing" in same.stdout
    (place.path / "slow.onnx").unlink()
    slow(place.path, steps=6)
    worse = night(place)
    assert worse.code == 1, f"{worse.stdout}{worse.stderr}"
    assert "moved: compute +" in worse.stdout
    found = document(nights(place)[-1])
    assert found["outcome"] == "regressed" and found["baseline"]["reason"] == "the first build"
    suite = ElementTree.parse(nights(place)[-1] / "junit.xml").getroot()
    assert int(suite.get("failures", "0")) >= 1 and len(suite.findall("testcase")) == 4
    assert "| regressed |" in (nights(place)[-1] / "summary.md").read_text()
    accepted = night(place, "--accept", "three times the layers", "--json")
    assert accepted.code == 0, accepted.stderr
    assert accepted.document["reason"] == "three times the layers"
    assert accepted.document["night"] == nights(place)[-1].name
    place.env["GITHUB_ACTIONS"] = "true"
    last = night(place, "--minutes-per-point", "0.01")
    assert last.code == 3, f"{last.stdout}{last.stderr}"  # after one round nothing can be told
    assert "three times the layers" in last.stdout and "differs in: nothing" in last.stdout
    assert "::warning title=harness::" in last.stderr and "::error" not in last.stderr
    assert len(list(place.path.glob("results/baselines/models/*/baseline.json"))) == 2


def test_a_night_on_a_busy_machine_measures_nothing_and_says_so(place: Workplace) -> None:
    assert night(place).code == 0
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        done = night(place, "--apart", "--set", "validity.foreign_cpu=0.01", "--set", "validity.stolen_cpu=1")
    finally:
        busy.kill()
        busy.wait()
    assert done.code == 3, f"{done.stdout}{done.stderr}"
    assert "nothing was measured, for the machine isn't quiet: other processes use" in done.stdout
    assert document(nights(place)[-1])["comparison"] is None


def test_no_two_nights_at_once_and_a_night_that_is_cut_off_is_none(place: Workplace) -> None:
    assert night(place).code == 0
    process = place.start("nightly", "models.yaml")
    wait_for(lambda: len(nights(place)) == 2 and (nights(place)[-1] / "ab.json").exists())
    other = night(place)
    assert other.code == 2
    assert "another `harness nightly` measures on this machine" in other.stderr
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = document(nights(place)[1])
    assert found["finished_at"] is None and found["why"] == "it was cut off"
    refused = night(place, "--accept", "it looked good")
    assert refused.code == 2 and "no finished night of models" in refused.stderr
    process = place.start("nightly", "models.yaml")
    wait_for(lambda: len(nights(place)) == 3 and (nights(place)[-1] / "ab.json").exists())
    process.send_signal(signal.SIGINT)
    ended(process)
    found = document(nights(place)[2])
    (point,) = found["comparison"]["points"]
    assert found["finished_at"] is None and point["rounds"] + sum(point["left_out"].values()) >= 1, point


def test_what_cannot_be_compared_or_accepted_is_one_sentence(place: Workplace) -> None:
    assert night(place).code == 0
    (baseline,) = place.path.glob("results/baselines/models/*/")
    (model,) = baseline.glob("model-0/*.onnx")
    for arguments, said in (
        (("--accept", " "), "why is it accepted?"),
        (("--accept", "it is fine"), "no finished night of models"),
        (("--set", "server.max_batch=[1, 2]"), "has 1 points and models 2"),
        (
            ("--set", "server.max_batch=4", "--set", "requests.small.batch=4"),
            "can't be asked for what models asks",
        ),
        (("--set", "load={ramp: {from_per_s: 1, to_per_s: 9}}"), "can't be sent in turns"),
    ):
        done = night(place, *arguments)
        assert done.code == 2, f"{arguments}: {done.stdout}{done.stderr}"
        assert said in done.stderr and "Traceback" not in done.stderr, done.stderr
    whole = model.read_bytes()
    for content, said in ((whole + b"x", "isn't the model that was accepted"), (None, "is missing")):
        model.unlink(missing_ok=True)
        if content is not None:
            model.write_bytes(content)
        done = night(place)
        assert done.code == 2 and said in done.stderr, done.stderr
    (baseline / "baseline.json").write_text("{")
    done = night(place)
    assert done.code == 2 and "is damaged" in done.stderr, done.stderr
    assert len(nights(place)) == 1, "nothing was begun, and no other build became the baseline"


def test_nights_beside_a_reference_where_the_baseline_cannot_be_run(place: Workplace) -> None:
    slow(place.path, steps=2, name="pinned")
    place.scenario(NIGHT.replace("slow.onnx", "pinned.onnx"), "reference.yaml")
    place.scenario(
        NIGHT.replace("wait_minutes: 0", "wait_minutes: 0\n  reference: reference.yaml").replace(
            "round_s: 2", "round_s: 1"
        ),
        "models.yaml",
    )
    short = ("--minutes-per-point", "0.01")
    first = whole_night(place)
    assert first.code == 0, first.stderr
    assert (
        "no baseline: 0 nights of the baseline can be compared with, and 5 are the fewest; this one is added"
        in first.stdout
    )
    found = document(nights(place)[-1])
    (beside,) = found["stored"]["points"]
    assert beside["rounds"] >= LEAST_ROUNDS and abs(beside["metrics"]["p50"]) < 0.4, "the same model twice"
    for number in range(5):  # as five more nights would be, of which two can't be compared
        other = json.loads(json.dumps(found)) | {"run_id": f"{found['run_id']}-{number}", "outcome": "pass"}
        other["stored"]["points"][0]["metrics"]["p50"] += 0.01 * number
        other["stored"]["points"][0]["rounds"] = LEAST_ROUNDS  # none that follows is too short beside them
        if number == 3:
            other["comparison"]["arms"][1]["environment"]["cpu"] = "another"
        if number == 4:
            other["outcome"] = "regressed"
        folder = place.path / "results" / other["run_id"]
        folder.mkdir()
        (folder / "nightly.json").write_text(json.dumps(other))
    again = night(place, *short)
    assert again.code == 0, again.stderr
    assert "4 nights of the baseline can be compared with" in again.stdout
    assert "this one isn't added to them: " in again.stdout
    assert "has fewer than 3 rounds that count" in again.stdout
    assert "1 night: the machine was another: cpu" in again.stdout and "1 night: it regressed" in again.stdout
    other = place.path / "results" / f"{found['run_id']}-4" / "nightly.json"
    other.write_text(other.read_text().replace('"outcome": "regressed", "why"', '"outcome": "pass", "why"'))
    for name in ("slow", "pinned"):  # the reference is the one that was kept
        (place.path / f"{name}.onnx").unlink()
        slow(place.path, steps=8, name=name)
    worse = whole_night(place)
    assert worse.code == 1, f"{worse.stdout}{worse.stderr}"
    assert "moved: compute +" in worse.stdout
    assert "with 5 nights of its baseline, all measured beside one reference" in worse.stdout
    accepted = whole_night(place, "--accept", "four times the layers")
    assert accepted.code == 0, accepted.stderr
    after = night(place, *short)
    assert "1 night of the baseline can be compared with" in after.stdout, after.stdout


def test_a_reference_that_cannot_be_one_is_one_sentence(place: Workplace) -> None:
    for written, said in (
        ("absent.yaml", "isn't in the scenario's folder"),
        ("../models.yaml", "leaves the scenario's folder"),
        ("other.yaml", "can't be the reference of models: reference and models differ in their requests"),
    ):
        place.scenario(NIGHT.replace("name: small", "name: large"), "other.yaml")
        place.scenario(
            NIGHT.replace("wait_minutes: 0", f"wait_minutes: 0\n  reference: {written}"), "models.yaml"
        )
        done = night(place)
        assert done.code == 2 and said in done.stderr, f"{written}: {done.stdout}{done.stderr}"
        assert nights(place) == []
