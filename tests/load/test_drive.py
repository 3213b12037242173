"""Whole drives: real Locust, real Triton, real deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from harness.load.driver import LoadOutcome, Progress, drive
from harness.load.recorder import read_spool
from harness.schema.errors import InputError
from harness.schema.point import Point, PointClass, PointLoad, ServerSettings
from harness.schema.samples import Phase, Status
from harness.schema.scenario import Measure, Objective, Protocol, Replay
from harness.triton.embedded import EmbeddedServer
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
    return drive(what, model, payloads, ["Y"], "127.0.0.1", port, folder / "load", folder, **options)


def left_over(folder: Path) -> list[str]:
    """Load processes of this folder that are still there."""
    found = []
    for process in psutil.process_iter(["environ", "status"]):
        environment = process.info["environ"] or {}
        ours = environment.get("HARNESS_LOAD_PLAN", "").startswith(str(folder))
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(str(process))
    return found


REPLAY = "0.1\n0.2\n0.2\n0.2\n0.5\n0.95\n7\n"


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
    started: list[int] = []
    progress: list[Progress] = []
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
    assert started == [outcome.pid] and {p.phase for p in progress} >= {"measure"}
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
    assert outcome.client_max_rss_bytes is not None and outcome.client_max_rss_bytes > 10e6
    if load.open_loop:
        due = np.diff(np.sort(measured["intended_ns"])) / 1e9
        if load.replay is not None:
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


def test_a_closed_loop_goes_on_until_it_has_its_requests(triton: EmbeddedServer, tmp_path: Path) -> None:
    slow = {
        "short": [{"X": np.full((1, 4), 0.05, np.float32)}],
        "long": [{"X": np.zeros((1, 4), np.float32)}],
    }
    slow["long"] = slow["short"]
    for min_requests, at_most_s, least, most in ((12, 10.0, 12, 14), (10_000, 0.6, 8, 16)):
        what = point("http", PointLoad(concurrency=1), warmup_s=0.0, duration_s=0.3, at_most_s=at_most_s)
        outcome = run(triton, tmp_path, what, "moody", payloads=slow, min_requests=min_requests)
        assert least <= len(read_spool(outcome.folder)[0]) <= most


def test_a_drive_on_a_server_that_is_gone_has_errors_and_ends(tmp_path: Path) -> None:
    gone = point("http", PointLoad(concurrency=3), warmup_s=0.0, duration_s=0.5)
    outcome = drive(gone, "echo", PAYLOADS, ["Y"], "127.0.0.1", 1, tmp_path / "load", tmp_path)
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
    ("number", "words"), [(signal.SIGKILL, "killed by SIGKILL"), (signal.SIGTERM, "ended")]
)
def test_a_load_process_that_dies_is_an_outcome_and_leaves_its_requests(
    triton: EmbeddedServer, tmp_path: Path, number: signal.Signals, words: str
) -> None:
    pids: list[int] = []
    outcome = run(
        triton,
        tmp_path,
        point("http", PointLoad(concurrency=2), duration_s=30.0),
        on_started=pids.append,
        between=lambda: threading.Timer(1.5, os.kill, (pids[0], number)).start(),
    )
    assert outcome.window is None and outcome.ended is not None and words in outcome.ended
    requests, _ = read_spool(outcome.folder)
    assert (requests["phase"] == Phase.MEASURE).sum() > 50
    assert left_over(tmp_path) == []


def test_a_load_process_that_hangs_is_ended(
    triton: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.load.driver._SILENT_S", 2.0)
    pids: list[int] = []
    began = time.monotonic()
    outcome = run(
        triton,
        tmp_path,
        point("http", PointLoad(concurrency=2), duration_s=60.0),
        on_started=pids.append,
        between=lambda: threading.Timer(0.5, os.kill, (pids[0], signal.SIGSTOP)).start(),
    )
    assert outcome.ended == "the load process said nothing for 2 s and was ended"
    assert time.monotonic() - began < 15 and left_over(tmp_path) == []


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
            run(triton, tmp_path, what, between=fails(error))
        assert left_over(tmp_path) == []


def test_the_load_dies_with_a_harness_that_is_killed(triton: EmbeddedServer, tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from tests.load.test_drive import PAYLOADS, point
from harness.load.driver import drive
from harness.schema.point import PointLoad
what = point("http", PointLoad(concurrency=2), duration_s=60.0)
drive(what, "echo", PAYLOADS, ["Y"], "127.0.0.1", {triton.http_port}, Path({str(tmp_path)!r}) / "load",
      Path("."), between=lambda: print("measuring", flush=True))
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
    run(triton, tmp_path, point("http", PointLoad(concurrency=1), warmup_s=0.0, duration_s=0.1))
    import gevent.monkey

    assert not gevent.monkey.saved and "locust" not in sys.modules


def test_the_driver_itself_imports_neither_gevent_nor_tritonclient() -> None:
    program = (
        "import sys, harness.load.driver; print({'gevent', 'tritonclient', 'locust'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
