"""Locust as a person runs it: with a locustfile of their own, and with a plan of harness's."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.load.endpoint import Endpoint, parsed_host
from harness.load.load_plan import LoadPlan, PayloadFile, PlannedClass, write_plan
from harness.load.wire import prepare
from harness.schema.errors import InputError
from harness.schema.scenario import Protocol
from harness.triton.embedded import EmbeddedServer
from tests.load.triton_models import tiny_triton
from tests.ports import free_port

LOCUST = [sys.executable, "-m", "locust"]
LOCUSTFILE = Path("harness/load/process/locustfile.py").absolute()

OWN = """
import numpy as np
from locust import constant, task
from harness.load.user import TritonUser

class Sentences(TritonUser):
    model = "echo"
    protocol = "{protocol}"
    wait_time = constant(0.01)

    def on_start(self):
        self.short = self.prepare({{"X": np.ones((1, 4), np.float32)}})

    @task(3)
    def prepared(self):
        self.send(self.short, name="prepared")

    @task
    def built(self):
        inputs = {{"X": np.random.rand(2, 8).astype(np.float32)}}
        outputs = self.infer(inputs, name="built")
        assert (outputs["Y"] == inputs["X"]).all()

    @task
    def refused(self):
        assert self.infer({{"X": np.ones((65, 1), np.float32)}}, name="refused") is None
"""


NAMES = ("prepared", "built", "refused")


def headless(folder: Path, *options: str) -> list[str]:
    csv_files = str(folder / "out")
    return [*LOCUST, "--headless", "--json", "--csv", csv_files, "--exit-code-on-error", "0", *options]


def locust(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        headless(folder, *options),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        check=False,
    )


def locust_until(folder: Path, names: Collection[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Ended by SIGTERM once its CSV has some requests of each name: how long that takes is the machine's."""
    process = subprocess.Popen(
        headless(folder, *options, "-t", "60s"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    try:
        give_up = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < give_up:
            if all(requests_in_csv(folder, name) > SOME for name in names):
                process.terminate()
                break
            time.sleep(0.1)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


SOME = 5


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[int, int]]:
    """Name -> (requests, failures), from Locust's own JSON."""
    return {row["name"]: (row["num_requests"], row["num_failures"]) for row in json.loads(done.stdout)}


def in_csv(folder: Path) -> set[str]:
    """Names in Locust's CSV, whose counts are up to a second old."""
    with (folder / "out_stats.csv").open() as file:
        return {row["Name"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def tritons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], EmbeddedServer]]:
    """One server for the tests of this file, and another after one that died.

    Triton 2.51 itself can die of a gRPC client that goes away while it is answered (Triton's issue 8034), as
    a Locust does whose time is up; the next test shall not have to answer for that. The server that the other
    files share must outlive their tests.
    """
    servers: list[EmbeddedServer] = []
    with ExitStack() as running:

        def alive() -> EmbeddedServer:
            if not servers or not servers[-1].process_ids():
                servers.append(running.enter_context(tiny_triton(tmp_path_factory.mktemp("triton"))))
            return servers[-1]

        yield alive


@pytest.fixture
def triton(tritons: Callable[[], EmbeddedServer]) -> EmbeddedServer:
    return tritons()


def requests_in_csv(folder: Path, name: str) -> int:
    """0 before there is one: Locust writes it once a second."""
    try:
        with (folder / "out_stats.csv").open() as file:
            return sum(int(row["Request Count"]) for row in csv.DictReader(file) if row["Name"] == name)
    except (FileNotFoundError, TypeError, KeyError, ValueError):  # not there yet, or half written
        return 0


@pytest.mark.triton
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_users_own_locustfile_runs_under_plain_locust(
    triton: EmbeddedServer, tmp_path: Path, protocol: Protocol
) -> None:
    (tmp_path / "own.py").write_text(OWN.format(protocol=protocol))
    port = triton.http_port if protocol == "http" else triton.grpc_port
    before = triton.statistics("echo").successes
    options = ("-f", "own.py", "--host", f"http://127.0.0.1:{port}", "-u", "3", "-r", "3")
    done = locust_until(tmp_path, NAMES, *options)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found = counts(done)
    assert in_csv(tmp_path) == {*NAMES, "Aggregated"}
    answered = found["prepared"][0] + found["built"][0]
    # Locust stops by killing its users: of each, a last request may have been answered but not counted.
    assert 0 <= triton.statistics("echo").successes - before - answered <= 3
    assert found["prepared"][1] == found["built"][1] == 0
    assert found["refused"][0] == found["refused"][1] > 0
    assert "batch-size must be <= 64" in (tmp_path / "out_failures.csv").read_text()


def ask(url: str, form: dict[str, str] | None = None) -> Any:
    """A page of Locust's web UI, waiting until it is up."""
    data = None if form is None else urllib.parse.urlencode(form).encode()
    give_up = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, data, timeout=5) as answer:
                return json.loads(answer.read())
        except urllib.error.URLError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


@pytest.mark.triton
def test_a_users_own_locustfile_is_driven_from_locusts_web_ui(triton: EmbeddedServer, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN.format(protocol="http"))
    port = free_port()
    command = [*LOCUST, "-f", "own.py", "--web-host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--web-port", str(port)], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        ui = f"http://127.0.0.1:{port}"
        host = f"127.0.0.1:{triton.http_port}"
        assert ask(f"{ui}/swarm", {"user_count": "2", "spawn_rate": "2", "host": host})["success"]
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up:
            stats = {row["name"]: row for row in ask(f"{ui}/stats/requests")["stats"]}
            if "prepared" in stats and stats["prepared"]["num_requests"] > 20:
                break
            time.sleep(0.2)
        assert stats["prepared"]["num_requests"] > 20, stats
        assert stats["prepared"]["num_failures"] == 0
        assert ask(f"{ui}/stop", {})["success"]
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    assert "Traceback" not in said


@pytest.mark.triton
def test_a_users_own_locustfile_runs_on_a_master_and_its_worker(
    triton: EmbeddedServer, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN.format(protocol="grpc"))
    port = str(free_port())
    host = f"127.0.0.1:{triton.grpc_port}"
    worker = subprocess.Popen(
        [*LOCUST, "-f", "own.py", "--worker", "--master-host", "127.0.0.1", "--master-port", port],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        options = ("-f", "own.py", "--host", host, "--master", "--expect-workers", "1", "-u", "2", "-r", "2")
        bind = ("--master-bind-host", "127.0.0.1", "--master-bind-port", port)
        done = locust_until(tmp_path, NAMES, *options, *bind)
        assert worker.wait(20) == 0
    finally:
        worker.kill()
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    found = counts(done)
    assert found["prepared"][0] > SOME and found["prepared"][1] == 0
    assert found["refused"][0] == found["refused"][1] > 0


@pytest.mark.triton
@pytest.mark.parametrize("closed", [True, pytest.param(False, marks=pytest.mark.alone)])
def test_a_plan_runs_under_plain_locust_until_it_is_stopped(
    triton: EmbeddedServer, tmp_path: Path, closed: bool
) -> None:
    request = prepare("http", "echo", {"X": np.ones((1, 4), np.float32)}, ["Y"], "127.0.0.1")
    (place,) = PayloadFile.write([[request]], tmp_path)
    plan = LoadPlan(
        endpoint=Endpoint(protocol="http", host="127.0.0.1", port=triton.http_port, timeout_s=5.0),
        classes=(PlannedClass(name="short", weight=1.0, requests=place),),
        seed=1,
        concurrency=2 if closed else None,
        warmup_s=1.0,
        limit_s=0.5,
    )
    path = write_plan(plan, {} if closed else {"measure": np.arange(50) / 100}, tmp_path)
    # Until it has sent enough: a busy machine may take seconds to have it ready.
    process = subprocess.Popen(
        headless(tmp_path, "-f", str(LOCUSTFILE), "-u", "2", "-r", "2"),
        env=os.environ | {"HARNESS_LOAD_PLAN": str(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    try:
        give_up = time.monotonic() + 60
        while requests_in_csv(tmp_path, "short") < 1000 and time.monotonic() < give_up:
            assert process.poll() is None
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGTERM)
        out, said = process.communicate(timeout=20)
    assert process.returncode == 0 and "Traceback" not in said, said
    (row,) = json.loads(out)
    assert row["name"] == "short" and row["num_requests"] >= 1000 and row["num_failures"] == 0
    if not closed:  # two streams of 100/s, one of them begun perhaps a little later
        seconds = row["last_request_timestamp"] - row["start_time"]
        assert row["num_requests"] / seconds == pytest.approx(200, rel=0.15)


def test_a_locust_without_a_plan_says_what_it_needs(tmp_path: Path) -> None:
    done = locust(tmp_path, "-f", str(LOCUSTFILE), HARNESS_LOAD_PLAN=str(tmp_path / "no.json"))
    assert done.returncode != 0 and "set HARNESS_LOAD_PLAN to one that" in done.stderr


def test_addresses_are_read_as_people_write_them() -> None:
    for text in ("http://127.0.0.1:8000", "127.0.0.1:8000", "grpc://127.0.0.1:8000", "127.0.0.1:8000/"):
        assert parsed_host(text) == ("127.0.0.1", 8000)
    assert parsed_host("grpc://[::1]:8001") == ("::1", 8001)
    for text in (
        None,
        "",
        "127.0.0.1",
        "https://127.0.0.1:8000",
        "a:b",
        "http://[::1",
        "http://a:1/v2",
        "::1:8000",
    ):
        with pytest.raises(InputError, match="is no address of a Triton"):
            parsed_host(text)
