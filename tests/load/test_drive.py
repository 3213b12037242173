"""Whole drives: real Locust, real Triton, real deaths."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from harness.load.coordinator.driver import LoadOutcome, PhaseProgress, drive
from harness.load.endpoint import Endpoint
from harness.load.job import Job
from harness.load.spools import read_spool
from harness.schema.errors import InputError
from harness.schema.load import PointLoad
from harness.schema.point import Point, PointClass, ServerSettings
from harness.schema.samples import Measured, Phase, Status
from harness.schema.scenario import Measure, Objective, Precision, Protocol
from harness.schema.shapes.ramp import Ramp
from harness.schema.shapes.replay import Replay
from harness.triton.embedded import EmbeddedServer
from tests.load.shared_fork_server import shared_fork_server
from tests.load.triton_models import tiny_triton

pytestmark = pytest.mark.triton


def point(protocol: Protocol, load: PointLoad, **measure: Any) -> Point:
    def request_class(name: str, weight: float) -> PointClass:
        return PointClass(
            name=name, weight=weight, batch=1, axes={}, payload=None, folder=None, low=None, high=None
        )

    return Point(
        id="test",
        params={},
        model="echo",
        protocol=protocol,
        server=ServerSettings(
            max_batch=64, queue_delay_us=0, instances=1, threads=1, kind="cpu", response_cache=False
        ),
        requests=(request_class("short", 3.0), request_class("long", 1.0)),
        load=load,
        measure=Measure(**({"warmup_s": 0.3, "duration_s": 1.0} | measure)),
        objective=Objective(),
        seed=11,
    )


PAYLOADS = {
    "short": [{"X": np.full((1, 4), i / 1e6, np.float32)} for i in range(3)],
    "long": [{"X": np.full((1, 9000), i / 1e6, np.float32)} for i in range(2)],
}


def run(
    triton: EmbeddedServer, folder: Path, what: Point, model: str = "echo", **options: Any
) -> LoadOutcome:
    port = triton.http_port if what.protocol == "http" else triton.grpc_port
    payloads = options.pop("payloads", PAYLOADS)
    options = {"fork_server": shared_fork_server()} | options
    return drive(job(what, port, folder, model, payloads), **options)


def job(what: Point, port: int, folder: Path, model: str = "echo", payloads: Any = PAYLOADS) -> Job:
    return Job(what, model, payloads, ["Y"], endpoint(what, port), folder / "load", folder)


def endpoint(what: Point, port: int, host: str = "127.0.0.1", **more: Any) -> Endpoint:
    """Where a point's load goes."""
    timeout_s = what.measure.timeout_s
    return Endpoint(protocol=what.protocol, host=host, port=port, timeout_s=timeout_s, **more)


def left_over(folder: Path) -> list[str]:
    """Load processes of this folder that are still there."""
    found = []
    for process in psutil.process_iter(["cwd", "status"]):
        ours = (process.info["cwd"] or "").startswith(str(folder))
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(str(process))
    return found


REPLAY = "0.1\n0.2\n0.2\n0.2\n0.5\n0.95\n7\n"


@pytest.mark.parametrize("load", [PointLoad(concurrency=3), PointLoad(rate_per_s=100)], ids=str)
def test_an_exception_in_a_user_ends_the_drive_with_its_text(tmp_path: Path, load: PointLoad) -> None:
    """Locust would log it and run the user again, thousands of times a second."""
    asked = job(point("http", load, duration_s=3600), 1, tmp_path)
    gone = replace(
        asked, endpoint=endpoint(asked.point, 1, "no..name")
    )  # no resolver gets to see such a name
    outcome = drive(gone, fork_server=shared_fork_server())
    assert outcome.ended is not None
    assert outcome.ended.startswith("the load process failed: UnicodeError: ")
    assert not left_over(tmp_path)
    printed = (tmp_path / "load" / "locust.out").read_text()
    assert "locustfile.py" in printed and len(printed) < 100_000


@pytest.mark.parametrize(
    ("protocol", "load"),
    [
        ("http", PointLoad(concurrency=5)),
        ("grpc", PointLoad(concurrency=5)),
        ("http", PointLoad(rate_per_s=150, arrivals="poisson")),
        ("grpc", PointLoad(rate_per_s=200, arrivals="constant")),
        ("http", PointLoad(replay=Replay(file="times.txt"))),
    ],
    ids=str,
)
def test_the_measured_requests_are_those_that_triton_counted(
    triton: EmbeddedServer, tmp_path: Path, protocol: Protocol, load: PointLoad
) -> None:
    (tmp_path / "times.txt").write_text(REPLAY)
    before: list[int] = []
    started: list[tuple[int, ...]] = []
    progress: list[PhaseProgress] = []
    outcome = run(
        triton,
        tmp_path,
        point(protocol, load),
        between=lambda: before.append(triton.statistics("echo").successes),
        on_started=started.append,
        on_progress=progress.append,
    )
    counted = triton.statistics("echo").successes - before[0]
    requests, reasons = read_spool(outcome.folder)
    assert outcome.ended is None and reasons == [] and len(before) == 1
    assert started == [outcome.pids] and {p.phase for p in progress} >= {"measure"}
    measured = requests[requests["phase"] == Phase.MEASURE]
    warm = requests[requests["phase"] == Phase.WARMUP]
    assert len(measured) == counted > 0 and len(warm) > 0
    assert (requests["status"] == Status.OK).all()
    assert outcome.window is not None
    assert outcome.window.start_ns == measured["intended_ns"].min()
    assert outcome.window.end_ns == measured["completed_ns"].max()
    assert warm["completed_ns"].max() < outcome.window.start_ns
    for earlier, later in (
        ("intended_ns", "sent_ns"),
        ("sent_ns", "first_byte_ns"),
        ("first_byte_ns", "completed_ns"),
    ):
        assert (measured[earlier] <= measured[later]).all()
    assert set(measured["request_class"].tolist()) == {0, 1}
    sizes = {c: set(measured["sent_bytes"][measured["request_class"] == c].tolist()) for c in (0, 1)}
    assert max(sizes[0]) < 1000 < 36_000 < min(sizes[1])
    assert outcome.client_cpu_s is not None and 0 < outcome.client_cpu_s < 2
    (process,) = outcome.processes
    assert process.requests == counted and process.pid == outcome.pids[0] and process.lost is None
    assert process.host == socket.gethostname() and process.clock_offset_s is None
    assert outcome.stopped_by == "duration"
    if load.open_loop:
        due = np.diff(np.sort(measured["intended_ns"])) / 1e9
        if isinstance(load.shape, Replay):
            assert due == pytest.approx([0.1, 0, 0, 0.3, 0.45], abs=1e-6)
        elif load.arrivals == "constant":
            assert len(measured) == 200 and due == pytest.approx(np.full(199, 0.005), abs=1e-6)
    else:
        assert 0.9 < outcome.window.seconds < 10
    assert left_over(tmp_path) == []


def test_a_server_that_is_late_does_not_delay_the_schedule(triton: EmbeddedServer, tmp_path: Path) -> None:
    """40 requests of 0.2 s each, two at a time, due within half a second: 4 s of work."""
    slow = {"short": [{"X": np.full((1, 4), 0.2, np.float32)}], "long": [{"X": np.zeros((1, 4), np.float32)}]}
    load = PointLoad(rate_per_s=40, arrivals="constant")
    what = point("http", load, warmup_s=0.0, duration_s=0.5)
    outcome = run(triton, tmp_path, what, "moody", payloads=slow)
    requests, _ = read_spool(outcome.folder)
    assert outcome.ended is None and len(requests) == 20
    intended = np.sort(requests["intended_ns"])
    assert np.diff(intended) / 1e9 == pytest.approx(np.full(19, 0.025), abs=1e-6)
    assert np.median((requests["sent_ns"] - requests["intended_ns"]) / 1e9) < 0.05
    assert (requests["completed_ns"] - requests["intended_ns"]).max() / 1e9 > 0.5


def test_a_server_that_stalls_is_sent_to_all_the_same(tmp_path: Path) -> None:
    """Stopped for 0.8 s: what is due meanwhile is sent on time, waits, and counts from when it was due."""
    with tiny_triton(tmp_path / "triton") as triton:
        stopped: list[int] = []
        family = triton.process_ids()

        def signal_all(number: int) -> None:
            stopped.append(time.monotonic_ns())
            for pid in family:
                os.kill(pid, number)

        def stall() -> None:
            time.sleep(0.6)
            signal_all(signal.SIGSTOP)
            time.sleep(0.8)
            signal_all(signal.SIGCONT)

        load = PointLoad(rate_per_s=200, arrivals="constant")
        what = point("http", load, duration_s=2.0)
        outcome = run(triton, tmp_path, what, between=lambda: threading.Thread(target=stall).start())
    requests = np.sort(read_spool(outcome.folder)[0], order="intended_ns")
    requests = requests[requests["phase"] == Phase.MEASURE]
    assert outcome.ended is None and (requests["status"] == Status.OK).all()
    due = (requests["intended_ns"] - requests["intended_ns"][0]) / 1e9
    assert due == pytest.approx(np.arange(400) / 200, abs=1e-6)
    lag_s = (requests["sent_ns"] - requests["intended_ns"]) / 1e9
    latency_s = (requests["completed_ns"] - requests["intended_ns"]) / 1e9
    service_s = (requests["completed_ns"] - requests["sent_ns"]) / 1e9
    began_ns, ended_ns = stopped
    stalled = (requests["intended_ns"] > began_ns) & (requests["intended_ns"] < ended_ns)
    assert 140 <= stalled.sum() <= 180
    assert np.quantile(lag_s[stalled], 0.9) < 0.1, "sent while the server stood still"
    assert (requests["completed_ns"][stalled] >= ended_ns).all()
    waited_s = (ended_ns - requests["intended_ns"][stalled]) / 1e9
    assert (latency_s[stalled] >= waited_s).all() and latency_s.max() > 0.75
    assert (service_s[stalled] >= waited_s - lag_s[stalled]).all()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_lone_user_that_waits_in_the_kernel_leaves_the_loop_its_turns(
    triton: EmbeddedServer, tmp_path: Path, protocol: Protocol
) -> None:
    """Its calls go past the event loop, in which the process reports, records and is told to stop."""
    heard: list[float] = []
    what = point(protocol, PointLoad(concurrency=1), duration_s=30.0)

    def alive() -> str | None:
        return "that was enough" if len(heard) >= 4 else None

    began = time.monotonic()
    outcome = run(
        triton, tmp_path, what, model="cached", alive=alive, on_progress=lambda p: heard.append(p.elapsed_s)
    )
    assert outcome.ended == "that was enough"
    assert time.monotonic() - began < 15
    assert len(read_spool(tmp_path / "load")[0]) > 100


def test_refusals_are_recorded_with_their_words_and_do_not_end_the_drive(
    triton: EmbeddedServer, tmp_path: Path
) -> None:
    mixed = {"short": [{"X": np.full((1, 4), -1, np.float32)}], "long": [{"X": np.zeros((1, 4), np.float32)}]}
    what = point("grpc", PointLoad(concurrency=2), duration_s=0.5)
    outcome = run(triton, tmp_path, what, "moody", payloads=mixed)
    requests, reasons = read_spool(outcome.folder)
    assert outcome.ended is None
    assert ((requests["status"] == Status.REFUSED) == (requests["request_class"] == 0)).all()
    assert len(reasons) == 1 and "the model is in a mood: 100% ü" in reasons[0]
    assert ((requests["reason"] == 1) == (requests["status"] == Status.REFUSED)).all()


def keeping(looked_at: list[Measured], enough: Callable[[Measured], bool]) -> Callable[[Measured], bool]:
    """Keep what each look is given."""

    def look(measured: Measured) -> bool:
        looked_at.append(measured)
        return enough(measured)

    return look


def counting(enough_at: int, seen: list[int]) -> Callable[[Measured], bool]:
    def enough(measured: Measured) -> bool:
        seen.append(measured.size)
        return seen[-1] >= enough_at

    return enough


@pytest.mark.parametrize(
    "load", [PointLoad(concurrency=1), PointLoad(rate_per_s=20, arrivals="poisson")], ids=["closed", "open"]
)
def test_a_steady_load_goes_on_until_it_is_enough(
    triton: EmbeddedServer, tmp_path: Path, load: PointLoad
) -> None:
    """A request takes 50 ms: some 20 a second, with both loads."""
    slow = {name: [{"X": np.full((1, 4), 0.05, np.float32)}] for name in ("short", "long")}
    for enough_at, precision, at_most_s, least, most, stopped_by in (
        (0, None, 10.0, 3, 30, "duration"),
        (0, Precision(mean=0.5), 10.0, 3, 30, "precision"),
        (25, None, 10.0, 25, 60, "precision"),
        (10_000, Precision(mean=0.5), 1.2, 12, 60, "time"),
    ):
        seen: list[int] = []
        last: list[Measured] = []
        enough = keeping(last, counting(enough_at, seen))
        what = point("http", load, warmup_s=0.0, duration_s=0.5, at_most_s=at_most_s, precision=precision)
        outcome = run(triton, tmp_path, what, "moody", payloads=slow, enough=enough)
        requests, _ = read_spool(outcome.folder)
        assert (outcome.enough_ns is None) == (stopped_by == "time")
        if outcome.enough_ns is not None:  # the last look saw all that the figures are of, and nothing else
            in_the_end = Measured.of(requests).due_before(outcome.enough_ns)
            assert in_the_end.size == last[-1].size < len(requests)
            for name in Measured.__slots__:
                assert (getattr(in_the_end, name) == getattr(last[-1], name)).all(), name
        assert outcome.ended is None and outcome.stopped_by == stopped_by
        assert least <= len(requests) <= most and seen == sorted(seen)
        assert (seen[-1] >= enough_at) == (stopped_by != "time")
        assert outcome.window is not None and outcome.window.seconds > 0.4


def test_a_load_that_changes_by_design_and_one_without_a_limit_are_not_looked_at(
    triton: EmbeddedServer, tmp_path: Path
) -> None:
    seen: list[int] = []
    ramp = PointLoad(ramp=Ramp(from_per_s=20, to_per_s=60), arrivals="constant")
    for load, at_most_s in ((ramp, 9.0), (PointLoad(rate_per_s=40, arrivals="constant"), None)):
        what = point("http", load, warmup_s=0.0, duration_s=0.5, at_most_s=at_most_s)
        outcome = run(triton, tmp_path, what, enough=counting(10_000, seen))
        assert outcome.stopped_by == "duration" and seen == []
        assert len(read_spool(outcome.folder)[0]) == 20 if load is not ramp else 15


def test_what_is_wrong_with_a_look_ends_the_drive(triton: EmbeddedServer, tmp_path: Path) -> None:
    def fails(_: Measured) -> bool:
        raise ZeroDivisionError

    what = point("http", PointLoad(concurrency=1), warmup_s=0.0, duration_s=0.2, at_most_s=30.0)
    with pytest.raises(ZeroDivisionError):
        run(triton, tmp_path, what, enough=fails)
    assert left_over(tmp_path) == []


def test_a_drive_on_a_server_that_is_gone_has_errors_and_ends(tmp_path: Path) -> None:
    gone = point("http", PointLoad(concurrency=3), warmup_s=0.0, duration_s=0.5)
    outcome = drive(job(gone, 1, tmp_path), fork_server=shared_fork_server())
    requests, reasons = read_spool(outcome.folder)
    assert outcome.ended is None and reasons == ["connection refused"]
    assert 3 <= len(requests) <= 30 and (requests["status"] == Status.CONNECTION).all()


@pytest.mark.parametrize("load", [PointLoad(concurrency=4), PointLoad(rate_per_s=300, arrivals="poisson")])
def test_a_server_killed_during_a_drive_ends_it_with_the_reason(tmp_path: Path, load: PointLoad) -> None:
    with tiny_triton(tmp_path / "triton") as triton:
        killer = threading.Timer(0.7, lambda: os.kill(triton.process_ids()[0], signal.SIGKILL))
        began = time.monotonic()
        outcome = run(
            triton,
            tmp_path,
            point("http", load, duration_s=30.0),
            between=killer.start,
            alive=triton.exit_reason,
        )
        assert time.monotonic() - began < 15
        assert outcome.ended is not None and "SIGKILL" in outcome.ended
    requests, reasons = read_spool(outcome.folder)
    measured = requests[requests["phase"] == Phase.MEASURE]
    assert (measured["status"] == Status.OK).sum() > 50
    assert (measured["status"] == Status.CONNECTION).any() and reasons
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "killed by SIGKILL"), (signal.SIGTERM, "exited with status 0")]
)
def test_a_load_process_that_dies_is_an_outcome_and_leaves_its_requests(
    triton: EmbeddedServer, tmp_path: Path, number: signal.Signals, words: str
) -> None:
    pids: list[tuple[int, ...]] = []
    outcome = run(
        triton,
        tmp_path,
        point("http", PointLoad(concurrency=2), duration_s=30.0),
        on_started=pids.append,
        between=lambda: threading.Timer(1.5, os.kill, (pids[0][0], number)).start(),
    )
    assert outcome.window is None and outcome.ended is not None and words in outcome.ended
    requests, _ = read_spool(outcome.folder)
    assert (requests["phase"] == Phase.MEASURE).sum() > 50
    assert left_over(tmp_path) == []


def test_a_load_process_that_hangs_is_ended(
    triton: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.load.coordinator.driver._SILENT_S", 1.0)
    pids: list[tuple[int, ...]] = []
    began = time.monotonic()
    outcome = run(
        triton,
        tmp_path,
        point("http", PointLoad(concurrency=2), duration_s=60.0),
        on_started=pids.append,
        between=lambda: threading.Timer(0.5, os.kill, (pids[0][0], signal.SIGSTOP)).start(),
    )
    assert outcome.ended == "the load process said nothing for 1 s and was ended"
    assert time.monotonic() - began < 15 and left_over(tmp_path) == []


def test_a_driver_that_was_stopped_itself_blames_nobody(
    triton: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by Ctrl-Z: the load goes on, what it says waits to be read, and is no silence."""
    monkeypatch.setattr("harness.load.coordinator.driver._SILENT_S", 1.0)
    monkeypatch.setattr("harness.load.coordinator.driver._HELD_UP_S", 0.5)
    asked = 0

    def alive() -> None:
        nonlocal asked
        asked += 1
        if asked == 8:
            time.sleep(2.0)

    load = point("http", PointLoad(rate_per_s=50), warmup_s=0.0, duration_s=5.0)
    outcome = run(triton, tmp_path, load, alive=alive)
    assert asked > 8 and (outcome.ended, outcome.stopped_by) == (None, "duration")


def test_an_exception_in_between_and_an_interrupt_leave_nothing_behind(
    triton: EmbeddedServer, tmp_path: Path
) -> None:
    def fails(error: type[BaseException]) -> Callable[[], None]:
        def between() -> None:
            raise error

        return between

    for error in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(error):
            what = point("http", PointLoad(concurrency=2), warmup_s=0.0)
            run(triton, tmp_path, what, between=fails(error), fork_server=None)
        assert left_over(tmp_path) == []


def test_the_load_dies_with_a_harness_that_is_killed(triton: EmbeddedServer, tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from tests.load.test_drive import job, point
from harness.load.coordinator.driver import drive
from harness.schema.load import PointLoad
what = point("http", PointLoad(concurrency=2), duration_s=60.0)
drive(job(what, {triton.http_port}, Path({str(tmp_path)!r})),
      between=lambda: print("measuring", flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as harness:
        assert harness.stdout is not None and harness.stdout.readline() == b"measuring\n"
        time.sleep(1.2)
        harness.kill()
    give_up = time.monotonic() + 5
    while left_over(tmp_path) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert left_over(tmp_path) == []
    assert len(read_spool(tmp_path / "load")[0]) > 50


def test_a_schedule_that_cannot_be_made_starts_nothing(triton: EmbeddedServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leaves the scenario's folder"):
        run(triton, tmp_path, point("http", PointLoad(replay=Replay(file="../x"))))


def test_a_drive_patches_nothing_in_this_process(triton: EmbeddedServer, tmp_path: Path) -> None:
    what = point("http", PointLoad(concurrency=1), warmup_s=0.0, duration_s=0.1)
    run(triton, tmp_path, what, fork_server=None)
    import gevent.monkey

    assert not gevent.monkey.saved and "locust" not in sys.modules


def test_the_driver_itself_imports_neither_gevent_nor_tritonclient() -> None:
    program = (
        "import sys, harness.load.coordinator.driver as driver; "
        "print({'gevent', 'tritonclient', 'locust'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
