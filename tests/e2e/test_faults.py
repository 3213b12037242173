"""What must not lose a measurement or invent one: killed servers, killed harnesses, full disks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import (
    ONE,
    TINY,
    TWO,
    Finished,
    Workplace,
    ended,
    server_of,
    under_load,
    valid,
    wait_for,
)

THREE = TINY.replace("[4, 8]", "[1, 4, 8]")
FOUR = TINY.replace("[4, 8]", "[1, 2, 4, 8]")
LONG = THREE.replace("duration_s: 2", "duration_s: 20")


def verdicts(done: Finished) -> list[str]:
    return [point["verdict"] for point in done.document["points"]]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != "zombie"]


def load_process_of(pid: int) -> psutil.Process:
    children = psutil.Process(pid).children(recursive=True)
    return next(c for c in children if "locust" in " ".join(c.cmdline()))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_that_dies_or_hangs_spoils_its_point_only(workplace: Workplace, how: signal.Signals) -> None:
    process = workplace.start("run", workplace.scenario(), "--json")
    under_load(workplace, process)
    victim = server_of(process.pid)
    assert victim is not None
    victim.send_signal(how)
    done = ended(process)
    assert done.code == 3, done.stderr
    assert verdicts(done) == ["invalid", "valid"]
    reasons = " ".join(done.document["points"][0]["reasons"])
    assert "SIGKILL" in reasons if how == signal.SIGKILL else "answer" in reasons
    assert not psutil.pid_exists(victim.pid)
    point = done.document["points"][1]
    assert point["requests"] == point["server"]["requests"] > 0
    samples = Path(done.document["path"]) / done.document["points"][0]["samples"]
    assert (samples / "requests.parquet").stat().st_size > 0, "what was sent until then is kept"


def test_a_load_process_that_dies_spoils_its_point_only(workplace: Workplace) -> None:
    process = workplace.start("run", workplace.scenario(), "--json")
    under_load(workplace, process)
    load_process_of(process.pid).kill()
    done = ended(process)
    assert done.code == 3, done.stderr
    assert verdicts(done) == ["invalid", "valid"]
    assert "load process" in done.document["points"][0]["reasons"][0]


def finished_points(run: Path) -> dict[str, Any]:
    """Raw samples of the finished points, by id, byte for byte."""
    return {
        f.parent.name: (f.parent / "requests.parquet").read_bytes()
        for f in run.glob("points/*/observed.json")
    }


def test_a_killed_harness_goes_on_with_nothing_measured_twice(workplace: Workplace) -> None:
    """However often it is killed, and whatever it is told to go on with."""
    scenario = workplace.scenario(FOUR)
    process = workplace.start("run", scenario, "--json")
    (run,) = wait_for(lambda: workplace.runs)
    before: dict[str, bytes] = {}
    for finished, what in enumerate(([], [run], [scenario]), start=1):
        wait_for(lambda: len(finished_points(run)) == finished)  # noqa: B023 - it is called here
        under_load(workplace, process)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        wait_for(
            lambda: not alive(family),  # noqa: B023
            why=lambda: f"while {[(c.cmdline(), c.status()) for c in alive(family)]} live on",  # noqa: B023
        )
        so_far = finished_points(run)
        assert len(so_far) == finished
        assert {point: so_far[point] for point in before} == before, "a finished point was measured again"
        before = so_far
        if (run / "result.json").exists():
            assert json.loads((run / "result.json").read_text())["finished_at"] is None
        process = workplace.start("run", *what, "--resume", "--json")
    done = ended(process)
    assert Path(valid(done)["path"]) == run
    assert done.document["finished_at"] is not None
    after = finished_points(run)
    assert len(after) == 4
    assert {point: after[point] for point in before} == before, "a finished point was measured again"
    assert workplace.run("run", "--resume").code == 2, "nothing is left to go on with"


def test_an_interrupt_stops_everything_and_says_how_to_go_on(workplace: Workplace) -> None:
    process = workplace.start("run", workplace.scenario(LONG))
    under_load(workplace, process)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    done = ended(process, 60)
    assert done.code == 4
    assert "--resume" in done.stderr
    assert "Traceback" not in done.stderr
    assert not alive(family)


def test_two_harnesses_do_not_write_to_one_run(workplace: Workplace) -> None:
    before = signal.signal(
        signal.SIGHUP, signal.SIG_DFL
    )  # under `nohup` it would be ignored, as it should be
    try:
        process = workplace.start("run", workplace.scenario(LONG + "shared_memory: system\n"))
    finally:
        signal.signal(signal.SIGHUP, before)
    under_load(workplace, process)
    (run,) = workplace.runs
    second = workplace.run("run", run, "--resume")
    family = psutil.Process(process.pid).children(recursive=True)
    held = list(Path("/dev/shm").glob(f"harness_*_{process.pid}_*"))
    assert held
    process.send_signal(signal.SIGHUP)  # its terminal is closed
    assert ended(process, 60).code == 4
    assert not alive(family) and not [region for region in held if region.exists()]
    assert second.code == 2
    assert "another harness" in second.stderr


def test_a_run_does_not_go_on_on_another_machine(workplace: Workplace) -> None:
    scenario = workplace.scenario(THREE)
    process = workplace.start("run", scenario)
    (run,) = wait_for(lambda: workplace.runs)
    wait_for(lambda: (run / "result.json").exists())
    process.kill()
    process.wait()
    for name, key, value, said in (
        ("environment", "cpu", "Another CPU", "cpu"),
        ("model", "sha256", "0" * 64, "model"),
    ):
        file = run / f"{name}.json"
        true = file.read_text()
        file.write_text(json.dumps(json.loads(true) | {key: value}))
        done = workplace.run("run", run, "--resume")
        file.write_text(true)
        assert done.code == 2
        assert f"another {said}:" in done.stderr


def test_a_harness_killed_before_it_wrote_the_result_loses_nothing(workplace: Workplace) -> None:
    done = workplace.run("run", workplace.scenario(ONE), "--json")
    run = Path(valid(done)["path"])
    (run / "result.json").unlink()
    (run / "report.html").unlink()
    again = workplace.run("run", run, "--resume", "--json")
    assert valid(again) == done.document
    assert (run / "report.html").exists() and "goes on with" not in again.stderr
    # Nor does one that lost a point's samples and a record since: the point is measured again, as it is said.
    (point,) = run.glob("points/*")
    (point / "requests.parquet").unlink()
    (run / "model.json").write_text("{")
    environment = json.loads((run / "environment.json").read_text())
    newer, environment["harness_version"] = environment["harness_version"], "0.1.9+gabcdef0"
    (run / "environment.json").write_text(json.dumps(environment))
    refused = workplace.run("report", run)
    assert refused.code == 2 and "requests.parquet is missing" in refused.stderr
    again = workplace.run("run", "--resume", "--json")
    assert valid(again)["model"] == done.document["model"] and again.document["faults"] == []
    assert f"the point {point.name} is measured again: " in again.stderr
    assert point.with_name(f"{point.name}.unfinished-1").exists()
    # Another harness that goes on with the run is told of, and so is each point that it measures.
    assert f"the run was begun with harness 0.1.9+gabcdef0 and goes on with {newer}" in again.stderr
    (note,) = (n for n in again.document["points"][0]["notes"] if "measured with harness" in n)
    assert note == f"it was measured with harness {newer}, and the run was begun with 0.1.9+gabcdef0"


def test_a_run_that_harness_0_1_began_goes_on(workplace: Workplace) -> None:
    """As 0.1 left it: nothing in it says which points it has, and its last one isn't finished."""
    done = workplace.run("run", workplace.scenario(TWO), "--json")
    first, last = (point["id"] for point in done.document["points"])
    run = Path(done.document["path"])
    for file in (run / "run.json", *run.glob("points/*/point.json"), run / "points" / last / "observed.json"):
        file.unlink()
    assert not workplace.run("report", run, "--json").document["finished_at"]
    again = workplace.run("run", "--resume", "--json")
    assert [point["id"] for point in valid(again)["points"]] == [first, last]
    assert again.document["points"][0] == done.document["points"][0], "it was not measured again"
    assert (run / "run.json").exists() and (run / "points" / f"{last}.unfinished-1").exists()
    assert all((run / "points" / point / "point.json").exists() for point in (first, last))


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk can only be mounted by root")
def test_a_full_disk_is_told_and_earlier_points_are_kept(workplace: Workplace) -> None:
    disk = workplace.path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], check=False)
    if mounted.returncode != 0:
        pytest.skip("tmpfs can't be mounted here")
    try:
        done = workplace.run("run", workplace.scenario(THREE), "--results", disk)
        assert done.code == 4, done.stderr
        assert "Traceback" not in done.stderr
        assert "No space left" in done.stderr or "too little room" in done.stderr
        assert "--results" in done.stderr or "make room" in done.stderr
        for file in disk.glob("*/points/*/observed.json"):
            json.loads(file.read_text())
        for file in disk.glob("*/result.json"):
            json.loads(file.read_text())
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_port_in_use_is_one_sentence(workplace: Workplace) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = workplace.run("serve", "double.onnx", "--http-port", port, "--grpc-port", "0", "--for-s", "5")
    assert done.code == 4
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_listens_at_the_url(workplace: Workplace) -> None:
    done = workplace.run("run", workplace.scenario(), "--url", "http://127.0.0.1:9")
    assert done.code == 4
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"{sys.executable} -m harness schema | head -c 10"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
