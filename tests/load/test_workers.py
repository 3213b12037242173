"""Several load processes on one machine: their union is the load that was asked for; each death is named."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.address import of_option
from harness.load.arrivals import draws, schedule
from harness.load.coordinator import load_processes as team
from harness.load.coordinator.driver import LoadOutcome, drive
from harness.load.coordinator.load_processes import LOCUST_PORT, checked_address
from harness.load.coordinator.workers import Workers
from harness.load.spools import read_spool
from harness.schema.errors import InputError
from harness.schema.load import PointLoad
from harness.schema.samples import Phase, Requests, Status
from harness.schema.scenario import Precision
from harness.schema.shapes.replay import Replay
from harness.triton.embedded import EmbeddedServer
from tests.load.shared_fork_server import shared_fork_server
from tests.load.test_drive import PAYLOADS, counting, job, left_over, point, run

pytestmark = pytest.mark.triton


def measured(outcome: LoadOutcome) -> Requests:
    requests, _ = read_spool(outcome.folder)
    return requests[requests["phase"] == Phase.MEASURE]


@given(
    weights=st.lists(st.floats(0.1, 10), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
    of=st.integers(1, 7),
)
def test_the_shares_of_the_draws_are_the_draws(weights: list[float], seed: int, of: int) -> None:
    variants = list(range(1, len(weights) + 1))
    taken = 3 * of
    whole = list(itertools.islice(draws(weights, variants, seed), taken))
    shares = [itertools.islice(draws(weights, variants, seed, worker, of), 3) for worker in range(of)]
    assert [draw for turn in zip(*shares, strict=True) for draw in turn] == whole


def test_the_shares_of_the_draws_go_on_where_a_block_of_them_ends() -> None:
    length = 3 * (1 << 16)
    whole = list(itertools.islice(draws([1, 2], [3, 5], 7), length))
    for worker in (0, 3, 4):
        share = list(itertools.islice(draws([1, 2], [3, 5], 7, worker, 5), length // 5))
        assert share == whole[worker::5][: length // 5]


REPLAY = "".join(f"{at:.3f}\n" for at in (0.1, 0.2, 0.2, 0.2, 0.25, 0.4, 0.55, 0.7, 0.7, 0.9))


@pytest.mark.parametrize(
    ("load", "protocol"),
    [
        (PointLoad(rate_per_s=150, arrivals="constant", workers=2), "http"),
        (PointLoad(rate_per_s=150, arrivals="poisson", workers=3), "grpc"),
        (PointLoad(rate_per_s=150, arrivals="gamma", cv=3.0, workers=2), "http"),
        (PointLoad(replay=Replay(file="times.txt"), workers=3), "http"),
    ],
    ids=["constant", "poisson", "gamma", "replay"],
)
def test_the_union_of_an_open_loop_is_the_schedule_of_one_process(
    triton: EmbeddedServer, tmp_path: Path, load: PointLoad, protocol: str
) -> None:
    (tmp_path / "times.txt").write_text(REPLAY)
    what = point(protocol, load)  # type: ignore[arg-type]
    outcome = run(triton, tmp_path, what)
    assert outcome.ended is None and outcome.stopped_by == "duration"
    times = (schedule(load, 1.0, what.seed, tmp_path) * 1e9).astype(np.int64)
    requests = measured(outcome)
    order = np.lexsort((requests["worker"], requests["intended_ns"]))
    # Of arrivals at the same instant, the first is whose turn it was.
    turns = np.arange(len(times)) % load.workers
    assert (requests["intended_ns"][order] - requests["intended_ns"].min() == times - times[0]).all()
    drawn = draws([3.0, 1.0], [3, 2], what.seed * len(Phase) + Phase.MEASURE)
    classes = np.array([kind for kind, _ in itertools.islice(drawn, len(times))])
    expected = np.lexsort((turns, times))
    assert (requests["request_class"][order] == classes[expected]).all()
    assert (requests["worker"][order] == turns[expected]).all()
    assert (requests["status"] == Status.OK).all()
    assert outcome.window is not None
    assert outcome.window.start_ns == requests["intended_ns"].min()
    assert outcome.window.end_ns == requests["completed_ns"].max()


def test_a_closed_loop_is_shared_out_and_every_request_comes_home(
    triton: EmbeddedServer, tmp_path: Path
) -> None:
    before: list[int] = []
    what = point("http", PointLoad(concurrency=5, workers=3))
    outcome = run(triton, tmp_path, what, between=lambda: before.append(triton.statistics("echo").successes))
    counted = triton.statistics("echo").successes - before[0]
    requests = measured(outcome)
    assert outcome.ended is None and len(requests) == counted > 0
    assert [p.worker for p in outcome.processes] == [0, 1, 2]
    for process in outcome.processes:
        assert process.requests == (requests["worker"] == process.worker).sum() > 0
        assert process.host == socket.gethostname() and process.pid in outcome.pids
        assert process.cpu_s is not None and 0 < process.cpu_s < 2
        assert process.clock_offset_s is None and process.lost is None
    assert len(outcome.pids) == 4, "the three and Locust's master"
    in_flight = 0
    most = 0
    ends = [(r["sent_ns"], 1) for r in requests] + [(r["completed_ns"], -1) for r in requests]
    for _, step in sorted(ends):
        in_flight += step
        most = max(most, in_flight)
    assert most <= 5, "users in all, not users in each"
    assert left_over(tmp_path) == []


def test_fewer_users_than_load_processes_leave_some_idle(triton: EmbeddedServer, tmp_path: Path) -> None:
    outcome = run(triton, tmp_path, point("http", PointLoad(concurrency=1, workers=2), duration_s=0.3))
    assert outcome.ended is None
    assert sorted(min(p.requests, 1) for p in outcome.processes) == [0, 1]


def test_enough_is_enough_for_all_at_the_same_time(triton: EmbeddedServer, tmp_path: Path) -> None:
    load = PointLoad(rate_per_s=800, arrivals="constant", workers=2)
    seen: list[int] = []
    some = Precision(mean=0.5)
    what = point("http", load, warmup_s=0.0, duration_s=0.5, at_most_s=20.0, precision=some)
    outcome = run(triton, tmp_path, what, enough=counting(500, seen))
    assert outcome.ended is None and outcome.stopped_by == "precision" and seen[-1] >= 500
    requests = np.sort(measured(outcome), order="intended_ns")
    times = (schedule(load, 20.0, what.seed, tmp_path) * 1e9).astype(np.int64)[: len(requests)]
    assert len(requests) < 6000
    assert (requests["intended_ns"] - requests["intended_ns"][0] == times - times[0]).all(), (
        "nothing left out"
    )


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGKILL, "was killed by SIGKILL"), (signal.SIGSTOP, "said nothing for 2 s and was ended")],
    ids=["killed", "hung"],
)
def test_a_load_process_that_is_lost_is_named_and_its_requests_are_kept(
    triton: EmbeddedServer, tmp_path: Path, number: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.load.coordinator.driver._SILENT_S", 2.0)
    pids: list[int] = []

    def lose_one() -> None:
        time.sleep(1.2)
        os.kill(pids[2], number)

    began = time.monotonic()
    outcome = run(
        triton,
        tmp_path,
        point("http", PointLoad(concurrency=4, workers=3), duration_s=60.0),
        on_started=pids.extend,
        between=lambda: threading.Thread(target=lose_one).start(),
    )
    assert time.monotonic() - began < 25
    assert outcome.ended == f"load process 1 on {socket.gethostname()} {words}"
    assert outcome.stopped_by is None
    assert [p.lost for p in outcome.processes] == [None, words, None]
    requests = measured(outcome)
    for process in outcome.processes:
        assert process.requests == (requests["worker"] == process.worker).sum() > 20
    # Locust would have given the users of the lost one to the others.
    for worker in (0, 2):
        own = requests[requests["worker"] == worker]
        ends = sorted([(r["sent_ns"], 1) for r in own] + [(r["completed_ns"], -1) for r in own])
        assert max(itertools.accumulate(step for _, step in ends)) <= 2
    assert left_over(tmp_path) == []


def test_a_master_that_dies_is_named(triton: EmbeddedServer, tmp_path: Path) -> None:
    pids: list[int] = []
    outcome = run(
        triton,
        tmp_path,
        point("http", PointLoad(concurrency=2, workers=2), duration_s=60.0),
        on_started=pids.extend,
        between=lambda: threading.Timer(1.0, os.kill, (pids[0], signal.SIGKILL)).start(),
    )
    assert outcome.ended == "Locust's master was killed by SIGKILL"
    assert len(measured(outcome)) > 20 and left_over(tmp_path) == []


def test_several_load_processes_die_with_a_harness_that_is_killed(
    triton: EmbeddedServer, tmp_path: Path
) -> None:
    program = f"""
from pathlib import Path
from tests.load.test_drive import job, point
from harness.load.coordinator.driver import drive
from harness.schema.load import PointLoad
what = point("http", PointLoad(concurrency=2, workers=2), duration_s=60.0)
drive(job(what, {triton.http_port}, Path({str(tmp_path)!r})),
      between=lambda: print("measuring", flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as harness:
        assert harness.stdout is not None and harness.stdout.readline() == b"measuring\n"
        assert len(left_over(tmp_path)) == 3
        harness.kill()
    give_up = time.monotonic() + 5
    while left_over(tmp_path) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert left_over(tmp_path) == []


@contextmanager
def supervised(port: int) -> Iterator[subprocess.Popen[str]]:
    """`harness worker --once` on this machine."""
    command = [sys.executable, "-m", "harness", "worker", "--master", f"127.0.0.1:{port}", "--once"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_payloads_larger_than_what_may_be_under_way_reach_a_worker(
    triton: EmbeddedServer, tmp_path: Path
) -> None:
    """Some 20 MB of them."""
    large = {"short": PAYLOADS["short"], "long": [{"X": np.full((1, 5_000_000), 0.5, np.float32)}]}
    listen = checked_address("127.0.0.1", 0)
    what = point("http", PointLoad(concurrency=1), duration_s=1.0)
    with supervised(listen[1]):
        outcome = drive(
            replace(job(what, triton.http_port, tmp_path, payloads=large), listen=listen),
            fork_server=shared_fork_server(),
        )
    requests = measured(outcome)
    assert outcome.ended is None and set(requests["request_class"].tolist()) == {0, 1}
    assert requests["sent_bytes"].max() > 20_000_000 and (requests["status"] == Status.OK).all()


def test_a_worker_too_many_gets_no_users_and_waits_for_the_next_point(
    triton: EmbeddedServer, tmp_path: Path
) -> None:
    """Locust would take users from the first worker for the second, in the middle of the point."""
    listen = checked_address("127.0.0.1", 0)
    pids = []
    with supervised(listen[1]) as first, supervised(listen[1]) as second:
        for duration_s in (4.0, 0.5):
            what = point("http", PointLoad(concurrency=4), duration_s=duration_s)
            folder = tmp_path / str(duration_s)
            outcome = drive(
                replace(job(what, triton.http_port, folder), listen=listen), fork_server=shared_fork_server()
            )
            assert outcome.ended is None
            assert outcome.window is not None and outcome.window.seconds == pytest.approx(duration_s, abs=0.5)
            pids += [process.pid for process in outcome.processes]
        assert len(set(pids)) == 2
        said = []
        for process in (first, second):
            _, words = process.communicate(timeout=20)
            assert process.returncode == 0 and "the point is over" in words, words
            said.append("the run has all its load processes" in words)
    assert sorted(said) == [False, True], "one came while the other sent"


def test_an_address_that_is_not_ours_cannot_be_listened_on() -> None:
    with pytest.raises(InputError, match=r"awaited at 192\.0\.2\.1:5557 .*: give --listen an address of"):
        checked_address("192.0.2.1", 5557)
    with pytest.raises(InputError, match="--listen 'a b' is no address"):
        of_option("--listen", "a b", LOCUST_PORT)
    for text in ("", "a b", "user@host", "http://host", "host:x", "[::1", "host/path"):
        with pytest.raises(InputError, match="give it as host or host:port"):
            of_option("--master", text, LOCUST_PORT)
    assert of_option("--master", "10.0.0.5", LOCUST_PORT) == ("10.0.0.5", 5557)
    assert of_option("--master", "gpu-1:6000", LOCUST_PORT) == ("gpu-1", 6000)
    assert of_option("--master", "[::1]:6000", LOCUST_PORT) == ("::1", 6000)


def test_a_temporary_folder_too_long_for_a_sockets_address_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(team.tempfile, "tempdir", str(long))
    with team._private_folder() as folder:
        assert len(f"{folder}/master") <= 107
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
    assert list(long.iterdir()) == []


@pytest.mark.parametrize(
    ("users", "gathered"), [((4, 0), False), ((3, 1), False), ((2, 2), True), ((1, 2), False)], ids=str
)
def test_users_are_there_once_each_load_process_has_its_share(
    users: tuple[int, int], gathered: bool, tmp_path: Path
) -> None:
    four = job(point("http", PointLoad(concurrency=4, workers=2)), 9, tmp_path)
    members = Workers(four, lambda _: None, lambda _: None)
    for worker, count in enumerate(users):
        members.hear({"event": "ready", "worker": worker, "users": count})
    assert members.gathered() is gathered
