"""Each gate that this machine can trip for real, through the real command line.

What can't be done here stands in tests/analysis/test_validity.py alone: a hypervisor that steals.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import HARNESS, Finished, Workplace, ended, server_of, under_load, wait_for
from tests.load.triton_models import model
from tests.nvml import NvmlDouble
from tests.triton.open_server import OpenServer

NEIGHBOURS = "validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, idle_users: 1, drift: 1000}\n"
"""Lets pass what other work on this machine does, so that no gate holds a point back but a test's own."""

SHORT = """\
model: double.onnx
requests:
  - {name: small, axes: {n: 16}}
load: {concurrency: 2}
measure: {warmup_s: 0.2, duration_s: 1.2}
"""
"""Under a second nothing is said of what other processes used."""

LONG = SHORT.replace("duration_s: 1.2", "duration_s: 2")
"""Long enough for something to be done while it is measured."""


def point_of(workplace: Workplace, text: str, *, verdict: str = "invalid") -> dict[str, Any]:
    """The only point of a scenario."""
    return only(workplace.run("run", workplace.scenario(text), "--json"), verdict)


def only(done: Finished, verdict: str = "invalid") -> dict[str, Any]:
    assert done.code == {"valid": 0, "invalid": 3}[verdict], done.stderr
    (point,) = done.document["points"]
    assert point["verdict"] == verdict, point["reasons"]
    return point  # type: ignore[no-any-return]


def disturbed(
    workplace: Workplace, text: str, do: Callable[[int], None], *arguments: str, records: int = 50
) -> dict[str, Any]:
    """The point, with `do` called once its measured phase has so many records, with harness's process id."""
    process = workplace.start("run", workplace.scenario(text), "--json", *arguments)
    under_load(workplace, process, records)
    do(process.pid)
    return only(ended(process))


def reason(point: dict[str, Any]) -> str:
    """The one reason it has."""
    (said,) = point["reasons"]
    return str(said)


def http_port(pid: int) -> int:
    server = server_of(pid)
    assert server is not None
    (port,) = (int(word.split("=")[1]) for word in server.cmdline() if word.startswith("--http-port="))
    return port


def locust_of(pid: int) -> psutil.Process:
    children = psutil.Process(pid).children(recursive=True)
    return max((c for c in children if "locust" in " ".join(c.cmdline())), key=lambda c: c.cpu_times().user)


@pytest.mark.alone  # what neighbours start and end within a moment is in no process's account
def test_a_point_with_nothing_wrong_is_valid_and_its_cpu_time_is_accounted_for(workplace: Workplace) -> None:
    point = point_of(workplace, SHORT + NEIGHBOURS, verdict="valid")
    host = point["host"]
    parts = [host[f"{name}_cpu_cores"] for name in ("server", "client", "harness", "foreign")]
    assert all(part is not None and part >= 0 for part in parts)
    assert 0 < host["harness_cpu_cores"] < 0.2
    # what is left are interrupts, and processes' time that the kernel booked as such
    assert sum(parts) == pytest.approx(host["host_busy_cores"], abs=0.3)
    assert host["stolen_cpu_cores"] is not None


def test_a_load_process_at_its_limit_and_a_response_cache_that_was_asked_for(workplace: Workplace) -> None:
    strict = "validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 0.02}\n"
    point = point_of(workplace, SHORT + "server: {response_cache: true}\n" + strict)
    assert any("of a core, over 2%" in said for said in point["reasons"]), point["reasons"]
    assert point["server"]["cache_hits"] > 0
    assert any("from the response cache, as asked" in note for note in point["notes"])
    assert not any("cache" in said for said in point["reasons"])


OPEN = SHORT.replace("concurrency: 2", "rate_per_s: 200").replace("duration_s: 1.2", "duration_s: 3")


def test_a_client_that_is_held_up_sends_late(workplace: Workplace) -> None:
    def hold_up(pid: int) -> None:
        client = locust_of(pid)
        client.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        client.send_signal(signal.SIGCONT)

    point = disturbed(workplace, OPEN + NEIGHBOURS, hold_up)
    assert any("the client couldn't keep up" in said for said in point["reasons"]), point["reasons"]
    assert 0.1 < point["send_lag_p99_s"] < 1


SLOW_TO_GO_ON = """
import time
from harness.load.process.conductor import Conductor
record = Conductor.record
def dawdle(*arguments):
    record(*arguments)
    time.sleep(0.01)
Conductor.record = dawdle
"""


def test_users_who_dawdle_between_requests_are_fewer_users(workplace: Workplace) -> None:
    (workplace.path / "slow").mkdir()
    (workplace.path / "slow" / "sitecustomize.py").write_text(SLOW_TO_GO_ON)
    others = os.environ.get("PYTHONPATH")
    workplace.env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(workplace.path / "slow"), others]))
    point = point_of(workplace, SHORT + NEIGHBOURS.replace("idle_users: 1, ", ""))
    assert point["in_flight_mean"] < 1
    assert "of 2 users had a request in flight" in reason(point)


def infer(port: int) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0.0] * 16}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/double/infer", json.dumps({"inputs": [tensor]}).encode()
    )
    urllib.request.urlopen(request).read()


def test_somebody_else_who_uses_the_model_makes_the_counts_differ(workplace: Workplace) -> None:
    point = disturbed(workplace, LONG + NEIGHBOURS, lambda pid: infer(http_port(pid)))
    assert f"counted {point['requests']} answers and Triton {point['requests'] + 1}" in reason(point)


def test_requests_that_fail(workplace: Workplace) -> None:
    from tests.triton.models import slow

    slow(workplace.path)
    text = SHORT.replace("double", "slow").replace("duration_s: 1.2", "duration_s: 1.2, timeout_s: 0.005")
    point = point_of(workplace, text + NEIGHBOURS)
    assert "requests failed, over 5%" in point["reasons"][0]
    assert point["errors"] == sum(point["error_reasons"].values()) > 0


@contextmanager
def theirs(workplace: Workplace, *, response_cache: bool = False) -> Iterator[OpenServer]:
    """A server that isn't harness's, with the model in its repository."""
    from tests.triton.models import double, settings

    with OpenServer(workplace.path / "their_repo", workplace.path / "their.log") as server:
        server.serve(double(workplace.path), settings(response_cache=response_cache))
        yield server


def test_a_response_cache_that_nobody_asked_for(workplace: Workplace) -> None:
    with theirs(workplace, response_cache=True) as server:
        config = server.control.model_config("double") | {"response_cache": {"enable": True}}
        text = SHORT.replace("warmup_s: 0.2", "warmup_s: 3") + NEIGHBOURS
        url = f"http://127.0.0.1:{server.http_port}"
        process = workplace.start("run", workplace.scenario(text), "--json", "--url", url)
        wait_for(lambda: list(workplace.path.glob("results/*/points/*/load/*.spool")))
        server.control.load("double", config)  # in the warm-up
        done = ended(process)
    point = only(done)
    assert "can load models, map its shared memory, change its traces, change its log, which" in done.stderr
    assert point["server"]["cache_hits"] > 0
    assert "came from a response cache that the scenario doesn't ask for" in " ".join(point["reasons"])


EACH_ITS_OWN = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        self.error = 0.1 * args["model_instance_name"].endswith("_1")

    def execute(self, requests):
        return [self.one(np.from_dlpack(pb.get_input_tensor_by_name(r, "x"))) for r in requests]

    def one(self, x):
        made = {"y": x + x + np.float32(self.error), "rows": x.sum(axis=1)}
        return pb.InferenceResponse([pb.Tensor.from_dlpack(n, v.__dlpack__()) for n, v in made.items()])
"""
OF_TWO = """
name: "double"
backend: "python"
max_batch_size: 8
input [ { name: "x", data_type: TYPE_FP32, dims: [ -1 ] } ]
output [ { name: "y", data_type: TYPE_FP32, dims: [ -1 ] },
         { name: "rows", data_type: TYPE_FP32, dims: [ 1 ], reshape: { shape: [ ] } } ]
instance_group [ { kind: KIND_CPU, count: 2 } ]
"""


def wrong_in_batches(server: OpenServer, folder: Path) -> None:
    from tests.triton.models import double_of_a_batch, settings

    server.serve(double_of_a_batch(folder), settings())


def rounded_in_batches(server: OpenServer, folder: Path) -> None:
    """Under load there is hardly an answer that isn't: what they are compared with was asked for alone. That
    is as many as a tenth of a second is enough for, so of some of those under load nothing is known."""
    from tests.triton.models import half_in_batches, settings

    server.serve(half_in_batches(folder), settings(queue_delay_us=5000))


def instances_that_differ(server: OpenServer, _: Path) -> None:
    server.start(model("double", OF_TWO, EACH_ITS_OWN))


@pytest.mark.parametrize("serve", [wrong_in_batches, rounded_in_batches, instances_that_differ])
def test_answers_that_depend_on_what_else_is_served(
    workplace: Workplace, serve: Callable[[OpenServer, Path], None]
) -> None:
    """The file is right, and the server serves another: one answer alone tells nothing of it."""
    repository = workplace.path / "their_repo"
    with OpenServer(repository, workplace.path / "their.log") as server:
        (workplace.path / "wrong").mkdir()
        serve(server, workplace.path / "wrong")
        url = f"http://127.0.0.1:{server.http_port}"
        text = SHORT.replace("concurrency: 2", "concurrency: 4") + NEIGHBOURS
        if serve is rounded_in_batches:
            text = text.replace("duration_s: 1.2", "duration_s: 5")
        point = only(workplace.run("run", workplace.scenario(text), "--url", url, "--json"))
        answers = point["answer_check"]
        assert 0 < answers["different"] <= answers["compared"]
        assert f"{answers['different']} of {answers['compared']} answers that were compared differ" in reason(
            point
        )
        if serve is wrong_in_batches:
            lenient = text.replace("validity: {", "validity: {different_answers: 1, ")
            point = only(workplace.run("run", workplace.scenario(lenient), "--url", url, "--json"), "valid")
            assert any("answers that were compared differ" in note for note in point["notes"])


def test_another_process_on_the_cpu(workplace: Workplace) -> None:
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        point = point_of(workplace, SHORT + "validity: {stolen_cpu: 1}\n")
    finally:
        neighbour.kill()
        neighbour.wait()
    assert point["host"]["foreign_cpu_cores"] > 0.3
    assert "other processes used" in " ".join(point["reasons"])


AS_ON_CUDA = """
from harness.triton import own
own.provider_of = lambda config: ("CUDAExecutionProvider", {})
from harness.cli import main
main()
"""
"""A GPU is held against a point only where the model was computed on it, which no model is here: so harness
is told that it was."""


def test_another_process_on_a_gpu_that_slows_itself_down(
    workplace: Workplace, nvml_double: NvmlDouble
) -> None:
    workplace.program = [sys.executable, "-c", AS_ON_CUDA]
    workplace.env.update(nvml_double(f"reasons=0x8 processes={os.getpid()}"))
    point = point_of(workplace, SHORT + NEIGHBOURS)
    slowed, used = point["reasons"]
    assert "hw_slowdown" in slowed
    assert f"({os.getpid()})" in used and "validity.foreign_gpu" in used


def test_a_gpu_at_its_power_cap_with_processes_that_may_be_the_servers_own_is_let_pass(
    workplace: Workplace, nvml_double: NvmlDouble
) -> None:
    workplace.program = [sys.executable, "-c", AS_ON_CUDA]
    workplace.env.update(nvml_double("reasons=0x4 processes=4194301,4194302"))
    point = point_of(workplace, SHORT + NEIGHBOURS, verdict="valid")
    assert point["gpu"][0]["foreign_processes"] == []
    assert any("power cap" in note for note in point["notes"])


@pytest.fixture
def quota() -> Iterator[Path]:
    """A control group that may use half a core."""
    roots = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))
    root = next((root for root in roots if (root / "cgroup.procs").exists()), None)
    if root is None or not os.access(root, os.W_OK):
        pytest.skip("no control groups can be made here")
    group = root / f"harness-test-{os.getpid()}"
    try:
        group.mkdir()
        limit = next(name for name in ("cpu.cfs_quota_us", "cpu.max") if (group / name).exists())
        (group / limit).write_text("50000")
    except (OSError, StopIteration):
        pytest.skip("no CPU quota can be set here")
    yield group
    wait_for(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


def test_a_cpu_quota_that_holds_the_processes_back(workplace: Workplace, quota: Path) -> None:
    command = f'echo $$ > {quota}/cgroup.procs; exec "$@"'
    scenario = workplace.scenario(SHORT + NEIGHBOURS)
    done = subprocess.run(
        ["/bin/sh", "-c", command, "sh", *HARNESS, "run", str(scenario), "--json"],
        cwd=workplace.path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    (point,) = json.loads(done.stdout)["points"]
    assert point["host"]["throttled_cpu_cores"] > 0.02
    assert "CPU quota of this control group" in " ".join(point["reasons"])


LONGER = SHORT.replace("warmup_s: 0.2, duration_s: 1.2", "warmup_s: 0, duration_s: 6")


def test_a_model_instance_that_dies_and_is_started_anew(workplace: Workplace) -> None:
    killed: list[int] = []

    def kill_instance(pid: int) -> None:
        server = server_of(pid)
        assert server is not None
        (stub,) = server.children(recursive=True)
        stub.kill()
        killed.append(stub.pid)

    # Ten requests a second leave the instance idle nearly always: killed while it exchanges one with Triton,
    # it can leave the memory they share in a state over which Triton itself aborts (seen).
    text = LONGER.replace("concurrency: 2", "rate_per_s: 10")
    point = disturbed(workplace, text + NEIGHBOURS, kill_instance, records=10)
    assert f"started anew during the point: its process {killed[0]} ended" in point["reasons"][0]


LOOKS_EACH_SECOND = """
from harness.measurement import liveness
liveness.HEALTH_INTERVAL_S = 1
from harness.cli import main
main()
"""


def test_a_model_that_somebody_loads_anew_on_a_server_elsewhere(workplace: Workplace) -> None:
    workplace.program = [sys.executable, "-c", LOOKS_EACH_SECOND]
    with theirs(workplace) as server:

        def reload(_: int) -> None:
            time.sleep(2.5)  # past the second look
            server.control.unload("double")
            server.control.load("double")

        url = f"http://127.0.0.1:{server.http_port}"
        # Long enough for the reload to end within it where its beginning is seen late; a look each second
        # after it finds a counter that is lower than at the last look before.
        longer = LONGER.replace("concurrency: 2", "rate_per_s: 100").replace("duration_s: 6", "duration_s: 9")
        # on a busy machine the reload takes so long that more than 5% of the requests fail
        patient = NEIGHBOURS.replace("{", "{errors: 1, ")
        point = disturbed(workplace, longer + patient, reload, "--url", url)
    assert "started anew during the point: Triton's counter of" in point["reasons"][0]


def test_one_of_two_load_processes_that_is_lost_is_named(workplace: Workplace) -> None:
    text = LONGER.replace("concurrency: 2", "concurrency: 2, workers: 2") + NEIGHBOURS
    killed: list[int] = []

    def kill(pid: int) -> None:
        children = psutil.Process(pid).children(recursive=True)
        worker = next(c for c in children if "harness.load.distributed.worker" in c.cmdline())
        killed.append(worker.pid)
        worker.kill()

    point = disturbed(workplace, text, kill)
    (lost,) = (process for process in point["load_processes"] if process["lost"])
    assert lost["pid"] == killed[0]
    assert any(f"load process {lost['worker']}" in said and lost["host"] in said for said in point["reasons"])
