"""The spool keeps every request, whatever becomes of the process that wrote it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.load.process.recorder import Recorder
from harness.load.spools import read_spool
from harness.load.wire import Reply
from harness.schema.samples import Phase, Status


def reply(status: Status = Status.OK, reason: str | None = None, at: int = 0, size: int = 10) -> Reply:
    return Reply(status, reason, at + 1, at + 2, at + 3, size, size + 1)


def test_what_is_recorded_is_read_back_field_by_field(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, worker=3)
    recorder.record(7, 100, reply(at=100))
    recorder.begin(Phase.MEASURE)
    recorder.record(65_535, 2**62, Reply(Status.TIMEOUT, "late", 2**62 + 5, -1, 2**62 + 9, 0, 2**40))
    assert (recorder.succeeded, recorder.failed) == (0, 1)
    recorder.close()
    requests, reasons = read_spool(tmp_path)
    assert reasons == ["late"]
    assert requests[0].tolist() == (7, 0, 0, 3, 0, 100, 101, 102, 103, 10, 11)
    assert requests[1].tolist() == (65_535, 3, 1, 3, 1, 2**62, 2**62 + 5, -1, 2**62 + 9, 0, 2**32 - 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.integers(0, 5000), st.integers(0, 47))
def test_a_torn_end_is_passed_over(tmp_path: Path, count: int, torn: int) -> None:
    recorder = Recorder(tmp_path, worker=0)
    for number in range(count):
        recorder.record(1, number, reply(at=number))
    recorder.close()
    with (tmp_path / "requests-0.spool").open("ab") as spool:
        spool.write(b"x" * torn)
    requests, _ = read_spool(tmp_path)
    assert requests["intended_ns"].tolist() == list(range(count))


def test_texts_of_the_same_error_are_one_and_of_too_many_one_more(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, worker=0)
    for text in ("at 0x7f00 in 123456", "at 0x7f11 in 654321", "HTTP 503: a", "HTTP 504: a"):
        recorder.record(0, 0, reply(Status.REFUSED, text))
    for number in range(2000):
        recorder.record(0, 0, reply(Status.REFUSED, f"x{number}"))
    recorder.close()
    requests, reasons = read_spool(tmp_path)
    assert reasons[:3] == ["at … in …", "HTTP 503: a", "HTTP 504: a"]
    assert requests["reason"][:5].tolist() == [1, 1, 2, 3, 4]
    assert len(reasons) == 1001 and reasons[-1] == "another error, after 1000 different ones"
    assert requests["reason"][-1] == 1001


def test_spools_of_several_workers_are_read_with_one_list_of_texts(tmp_path: Path) -> None:
    for worker, texts in ((0, ["a", "b"]), (1, ["b", "c", "a"])):
        recorder = Recorder(tmp_path, worker)
        for text in texts:
            recorder.record(0, 0, reply(Status.REFUSED, text))
        recorder.close()
    requests, reasons = read_spool(tmp_path)
    assert [reasons[number - 1] for number in requests["reason"]] == ["a", "b", "b", "c", "a"]
    assert requests["worker"].tolist() == [0, 0, 1, 1, 1]


def test_a_folder_without_spools_has_no_requests(tmp_path: Path) -> None:
    requests, reasons = read_spool(tmp_path)
    assert len(requests) == 0 and requests.dtype.names is not None and reasons == []


def test_what_was_flushed_survives_kill_9(tmp_path: Path) -> None:
    program = f"""
import sys, time
from pathlib import Path
from harness.load.process.recorder import Recorder
from harness.load.wire import Reply
from harness.schema.samples import Status
recorder = Recorder(Path({str(tmp_path)!r}), 0)
for n in range(5000):
    status, reason = (Status.REFUSED, "no") if n == 4 else (Status.OK, None)
    recorder.record(n % 3, n, Reply(status, reason, n, n, n, 1, 1))
recorder.flush()
recorder.record(0, 5000, Reply(Status.OK, None, 1, 1, 1, 1, 1))
print("flushed", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"flushed\n"
        process.send_signal(signal.SIGKILL)
    requests, reasons = read_spool(tmp_path)
    assert requests["intended_ns"].tolist() == list(range(5000))
    assert np.flatnonzero(requests["reason"]).tolist() == [4] and reasons == ["no"]
