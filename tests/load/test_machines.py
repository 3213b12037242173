"""Load processes on other machines: every request comes home, on one clock, and each loss is named."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from harness.load.arrivals import draws, schedule
from harness.load.coordinator.driver import LoadOutcome, drive
from harness.load.coordinator.fork_server import ForkServer
from harness.load.distributed.secret import SECRET_VARIABLE
from harness.load.job import Job
from harness.load.spools import read_spool
from harness.schema.errors import HarnessError
from harness.schema.load import PointLoad
from harness.schema.point import Point
from harness.schema.samples import Phase, Requests, Status
from harness.triton.embedded import EmbeddedServer
from tests.interrupts import heed_sigint
from tests.load.shared_fork_server import shared_fork_server
from tests.load.test_drive import PAYLOADS, endpoint, point
from tests.load.triton_models import tiny_triton
from tests.network import Link, Network, network
from tests.ports import free_port

pytestmark = [pytest.mark.triton, pytest.mark.timeout(200)]

ROUND_TRIP_S = 0.025


@pytest.fixture(scope="module")
def lan() -> Iterator[Network]:
    """Two other machines, 20 ms away and 5 ms back, with 1% of the packets lost on the way."""
    with network(["hostA", "hostB"], out=Link(0.02, 0.01), back=Link(0.005, 0.01)) as made:
        yield made


@pytest.fixture(scope="module")
def server(lan: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with tiny_triton(tmp_path_factory.mktemp("triton"), host=lan.here.address) as running:
        yield running


@contextmanager
def workers(lan: Network, port: int, *options: str) -> Iterator[list[subprocess.Popen[str]]]:
    """`harness worker` on each of the other machines; an error in the block is told with what they said."""
    command = [sys.executable, "-m", "harness", "worker", "--master", f"{lan.here.address}:{port}", *options]
    started = [
        subprocess.Popen(
            host.command(command),
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_sigint,
        )
        for host in lan.there
    ]
    error: BaseException | None = None
    try:
        yield started
    except BaseException as raised:
        error = raised
        raise
    finally:
        for host, process in zip(lan.there, started, strict=True):
            how = "still ran" if process.poll() is None else f"had ended with {process.returncode}"
            process.kill()
            _, words = process.communicate()
            if error is not None:
                error.add_note(f"the worker on {host.name} {how} and had said: {words}")


def job(what: Point, server: EmbeddedServer, folder: Path, port: int) -> Job:
    listen = (server.host, port)
    return Job(
        what,
        "echo",
        PAYLOADS,
        ["Y"],
        endpoint(what, server.http_port, server.host),
        folder / "load",
        folder,
        listen=listen,
    )


def measured(outcome: LoadOutcome) -> Requests:
    requests, _ = read_spool(outcome.folder)
    return requests[requests["phase"] == Phase.MEASURE]


def test_the_union_comes_home_whole_and_on_one_clock(
    lan: Network, server: EmbeddedServer, tmp_path: Path
) -> None:
    port = free_port(server.host)
    load = PointLoad(rate_per_s=100, arrivals="poisson", workers=2)
    before: list[int] = []
    said: list[str] = []
    what = point("http", load, duration_s=2.0)
    with workers(lan, port, "--once") as started:
        outcome = drive(
            job(what, server, tmp_path, port),
            fork_server=shared_fork_server(),
            between=lambda: before.append(server.statistics("echo").successes),
            say=said.append,
        )
        counted = server.statistics("echo").successes - before[0]
        assert outcome.ended is None and outcome.stopped_by == "duration"
        assert said == [
            f"waiting for 2 load processes: run `harness worker --master {server.host}:{port}` "
            "on the machines that shall send the load",
            f"whoever reaches {server.host}:{port} can take part in this run and see its requests: to keep "
            "others out, set HARNESS_WORKER_SECRET there and here to what `openssl rand -hex 16` prints "
            "(docs/threats.md)",
        ]
        for process in started:
            _, words = process.communicate(timeout=20)
            assert process.returncode == 0 and "the point is over" in words, words
    requests = measured(outcome)
    assert len(requests) == counted and (requests["status"] == Status.OK).all()
    assert sorted(p.host for p in outcome.processes) == ["hostA", "hostB"]
    times = (schedule(load, 2.0, what.seed, tmp_path) * 1e9).astype(np.int64)
    drawn = draws([3.0, 1.0], [3, 2], what.seed * len(Phase) + Phase.MEASURE)
    classes = np.array([kind for kind, _ in itertools.islice(drawn, len(times))])
    assert len(times) == len(requests)
    for worker in range(2):
        own = np.sort(requests[requests["worker"] == worker], order="intended_ns")
        assert (own["request_class"] == classes[worker::2]).all()
        due = times[worker::2]
        # The drift between the two readings of a clock, of which each has an error, is put right too.
        assert np.abs((own["intended_ns"] - own["intended_ns"][0]) - (due - due[0])).max() < 25e6
    # On one clock up to what is known of the others: it is one kernel, so their true offset is 0.
    errors_s = [p.clock_error_s for p in outcome.processes if p.clock_error_s is not None]
    assert len(errors_s) == 2
    intended = np.sort(requests["intended_ns"])
    off_s = ((intended - intended[0]) - (times - times[0])) / 1e9
    assert np.abs(off_s).max() <= 2 * sum(errors_s)
    for process in outcome.processes:
        assert process.requests == (requests["worker"] == process.worker).sum() > 0
        assert process.clock_offset_s is not None and process.clock_error_s is not None
        assert ROUND_TRIP_S / 2 <= process.clock_error_s < ROUND_TRIP_S, "half the fastest round trip"
        # The way there is 15 ms longer than the way back, so the midpoint is off by 7.5 ms: within the error.
        assert abs(process.clock_offset_s) <= process.clock_error_s
        assert process.clock_offset_s == pytest.approx(0.0075, abs=0.005)
    lags_s = (requests["sent_ns"] - requests["intended_ns"]) / 1e9
    assert (lags_s >= 0).all()
    took_s = (requests["completed_ns"] - requests["sent_ns"]) / 1e9
    assert took_s.min() >= ROUND_TRIP_S


def test_three_points_follow_each_other_on_the_same_workers_which_know_the_secret(
    lan: Network, server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "0123456789abcdef" * 2)
    port = free_port(server.host)
    with ForkServer() as fork_server, workers(lan, port) as started:
        for number in range(3):
            what = point("http", PointLoad(concurrency=4, workers=2), duration_s=0.5)
            outcome = drive(job(what, server, tmp_path / str(number), port), fork_server=fork_server)
            assert outcome.ended is None
            assert all(p.requests > 0 for p in outcome.processes)
            assert len({p.pid for p in outcome.processes}) == 2
            assert len(measured(outcome)) == sum(p.requests for p in outcome.processes)
        for process in started:
            process.send_signal(signal.SIGINT)
            _, words = process.communicate(timeout=20)
            assert process.returncode == 0 and words.splitlines()[-1].endswith(": stopped"), words
            assert "Traceback" not in words


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGKILL, "was killed by SIGKILL"), (signal.SIGSTOP, "said nothing for 3 s and was ended")],
    ids=["killed", "hung"],
)
def test_a_load_process_lost_on_another_machine_is_named_with_it(
    lan: Network,
    server: EmbeddedServer,
    tmp_path: Path,
    number: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if number == signal.SIGSTOP:
        monkeypatch.setattr("harness.load.coordinator.driver._SILENT_S", 3.0)
    port = free_port(server.host)
    what = point("http", PointLoad(concurrency=4, workers=2), warmup_s=0.0, duration_s=60.0)
    with workers(lan, port) as started:

        def lose_one() -> None:
            time.sleep(3.0)
            family = psutil.Process(started[1].pid).children(recursive=True)
            (sends,) = (each for each in family if not each.children())  # not what forked it
            sends.send_signal(number)

        outcome = drive(
            job(what, server, tmp_path, port),
            fork_server=shared_fork_server(),
            between=lambda: threading.Thread(target=lose_one).start(),
        )
        (lost,) = (p for p in outcome.processes if p.lost is not None)
        assert lost.host == "hostB" and lost.lost == words
        assert outcome.ended == f"load process {lost.worker} on hostB {words}"
        assert [process.poll() for process in started] == [None, None], "both wait for the next point"
    requests = measured(outcome)
    for process in outcome.processes:
        assert process.requests == (requests["worker"] == process.worker).sum() > 20


def test_a_machine_whose_line_is_cut_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.load.coordinator.driver._SILENT_S", 3.0)
    with (
        network(["near", "far"], out=Link(0.001), back=Link(0.001)) as lan,
        tiny_triton(tmp_path / "triton", host=lan.here.address) as server,
    ):
        port = free_port(server.host)
        what = point("http", PointLoad(concurrency=2, workers=2), warmup_s=0.0, duration_s=60.0)
        with workers(lan, port):
            outcome = drive(
                job(what, server, tmp_path, port),
                fork_server=shared_fork_server(),
                between=lambda: threading.Timer(1.5, lan.cut, [(lan.here, lan.there[1])]).start(),
            )
        assert outcome.ended is not None
        assert outcome.ended.endswith("on far said nothing for 3 s and was ended")
        assert len(measured(outcome)) > 20


def test_a_server_that_one_machine_cannot_reach_gives_that_machines_errors(tmp_path: Path) -> None:
    with (
        network(["near", "far"], out=Link(0.001), back=Link(0.001)) as lan,
        network(["server"], out=Link(), back=Link()) as elsewhere,
        tiny_triton(tmp_path / "triton", host=elsewhere.here.address) as server,
    ):
        # Only `near` has a way to the server's address.
        near = lan.there[0]
        assert near.space is not None
        subprocess.run(
            ["ip", "-netns", near.space, "route", "add", f"{server.host}/32", "dev", near.device], check=True
        )
        lan.also(server.host, lan.here)
        port = free_port(lan.here.address)
        what = point("http", PointLoad(concurrency=2, workers=2), warmup_s=0.0, duration_s=1.0, timeout_s=1.0)
        reached = Job(
            *(
                what,
                "echo",
                PAYLOADS,
                ["Y"],
                endpoint(what, server.http_port, server.host),
                tmp_path / "load",
                tmp_path,
            ),
            listen=(lan.here.address, port),
        )
        with workers(lan, port):
            outcome = drive(reached, fork_server=shared_fork_server())
    requests, reasons = read_spool(outcome.folder)
    assert outcome.ended is None and reasons == ["network is unreachable"]
    for process in outcome.processes:
        own = requests[requests["worker"] == process.worker]
        right = Status.OK if process.host == "near" else Status.CONNECTION
        assert len(own) > 0 and (own["status"] == right).all()


def test_a_worker_of_another_version_is_refused_and_too_few_are_an_error_that_says_what_to_run(
    lan: Network, server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.load.coordinator.driver._START_S", 7.0)
    port = free_port(server.host)
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text(
        "import os\nfrom harness import version\n"
        "if os.uname().nodename == 'hostB': version.version = lambda: '9.9.9'\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(other))
    said: list[str] = []
    with workers(lan, port) as (_, refused):
        monkeypatch.delenv("PYTHONPATH")
        what = point("http", PointLoad(concurrency=4, workers=2), duration_s=1.0)
        with pytest.raises(HarnessError) as raised:
            drive(job(what, server, tmp_path, port), fork_server=shared_fork_server(), say=said.append)
        _, words = refused.communicate(timeout=10)
    sentence = f"1 of 2 load processes came to {server.host}:{port} within 7 s: run `harness worker --master"
    assert str(raised.value).startswith(sentence)
    assert refused.returncode == 2 and "harness 9.9.9 is here, and " in words, words
    assert "Traceback" not in words
    assert any("hostB can't take part: harness 9.9.9" in sentence for sentence in said)
