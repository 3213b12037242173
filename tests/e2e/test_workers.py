"""Several load processes, as a person runs them: on one machine, and on two with a server on a third."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import HARNESS, Workplace, ended
from tests.e2e.test_command_line import in_process
from tests.interrupts import heed_sigint
from tests.network import Link, network
from tests.ports import free_port

pytestmark = pytest.mark.triton

SCENARIO = """\
model: double.onnx
requests:
  - {name: small, axes: {n: 16}}
load: {concurrency: [2, 4]}
measure: {warmup_s: 0.2, duration_s: 1}
validity: {foreign_cpu: 1, stolen_cpu: 1}
"""


def test_workers_share_the_load_of_a_point(workplace: Workplace) -> None:
    done = workplace.run(
        "run", workplace.scenario(SCENARIO), "--workers", "2", "--set", "load.concurrency=4", "--json"
    )
    (point,) = done.document["points"]
    assert point["point"]["load"]["workers"] == 2
    assert "ended early" not in " ".join(point["reasons"]), done.stderr
    processes = point["load_processes"]
    assert [p["worker"] for p in processes] == [0, 1] and all(p["requests"] > 0 for p in processes)
    assert sum(p["requests"] for p in processes) == point["requests"] == point["server"]["requests"]
    assert {p["host"] for p in processes} == {socket.gethostname()}
    assert all(p["clock_offset_s"] is None and p["cpu_s"] > 0 for p in processes)


def test_one_process_and_two_make_the_same_point(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = str(workplace.scenario(SCENARIO))
    ids = []
    for workers in ("1", "2"):
        code, out, err = in_process(monkeypatch, "run", scenario, "--workers", workers, "--dry-run", "--json")
        assert code == 0, err
        ids.append([point["id"] for point in json.loads(out)["points"]])
    assert ids[0] == ids[1]


def test_machines_that_cannot_reach_the_server_are_not_waited_for(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = str(workplace.scenario(SCENARIO))
    monkeypatch.chdir(workplace.path)
    listen = ("--listen", f"0.0.0.0:{free_port()}")
    for options, said in (
        (listen, "can't reach a server at 127.0.0.1: give this run --host"),
        (
            (*listen, "--url", "http://localhost:8000"),
            "can't reach a server at localhost: give this run --url",
        ),
        (
            ("--host", "127.0.0.1", "--url", "http://localhost:8000"),
            "--host is of a Triton that harness starts",
        ),
        (("--listen", "192.0.2.7"), "give --listen an address of this machine"),
    ):
        code, _, err = in_process(monkeypatch, "run", scenario, *options)
        assert code == 2 and said in err
    done = workplace.run("worker", "--master", "a b")
    assert done.code == 2 and "'a b' is no address" in done.stderr
    done = workplace.run("worker", "--master", "nowhere.invalid")
    assert done.code == 2 and "'nowhere.invalid' can't be resolved here" in done.stderr
    assert workplace.runs == []


def test_a_worker_without_a_run_waits_and_ends_with_a_sentence(workplace: Workplace) -> None:
    master = f"127.0.0.1:{free_port()}"
    process = workplace.start("worker", "--master", master)
    assert process.stderr is not None
    assert f"waiting for a run at {master}" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert done.code == 0 and done.stderr.strip().endswith(": stopped"), done.stderr


@contextmanager
def running(workplace: Workplace, command: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        cwd=workplace.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_sigint,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def test_a_run_is_loaded_from_two_other_machines(workplace: Workplace) -> None:
    """20 ms there and 5 ms back, 1% of packets lost, by a server that only an address of this machine has."""
    with network(["hostA", "hostB"], out=Link(0.02, 0.01), back=Link(0.005, 0.01)) as lan:
        here = lan.here.address
        master = f"{here}:{free_port(here)}"
        worker = [*HARNESS, "worker", "--master", master]
        a, b = (host.command(worker) for host in lan.there)
        with running(workplace, a) as first, running(workplace, b):
            assert first.stderr is not None and "waiting for a run at" in first.stderr.readline()
            assert "can have this machine send load to any address: set HARNESS_WORKER_SECRET" in (
                first.stderr.readline()
            )
            options = ["--host", here, "--listen", master, "--workers", "2", "--json"]
            options += ["--set", "load.concurrency=4", "--set", "measure.duration_s=2"]
            done = workplace.run("run", workplace.scenario(SCENARIO), *options)
        assert "run `harness worker --master" in done.stderr, done.stderr
        assert f"whoever reaches {here} can send it requests" in done.stderr
        (point,) = done.document["points"]
        assert "ended early" not in " ".join(point["reasons"])
        assert point["requests"] == point["server"]["requests"] > 20 and point["errors"] == 0
        assert point["latency_s"]["min"] >= 0.025
        assert sorted(p["host"] for p in point["load_processes"]) == ["hostA", "hostB"]
        for process in point["load_processes"]:
            assert process["requests"] > 0 and process["lost"] is None
            assert abs(process["clock_offset_s"]) <= process["clock_error_s"] < 0.1
