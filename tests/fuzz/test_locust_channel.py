"""Locust's channel, as both of its ends hear it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from harness.load.distributed.messages import Malformed
from harness.load.distributed.spool_keeper import SpoolKeeper
from harness.load.endpoint import Endpoint
from harness.load.load_plan import LoadPlan, PayloadFile, PlannedClass, read_plan, read_times
from harness.load.process.reasons import LONGEST_REASON, MOST_REASONS
from harness.load.process.recorder import Recorder
from harness.load.spools import read_spool
from harness.load.wire import Reply
from harness.schema.errors import InputError
from harness.schema.samples import REQUEST, Status
from tests.fuzz import SECONDS, fuzz, mutated, pieces


@pytest.mark.parametrize("end", ["master", "worker"])
def test_what_is_no_message_is_dropped_and_nothing_else_happens(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.locust_channel", end],
        capture_output=True,
        text=True,
        timeout=10 * SECONDS + 120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


PLAN = LoadPlan(
    endpoint=Endpoint(protocol="http", host="h", port=1, timeout_s=1.0),
    classes=(PlannedClass(name="a", weight=1.0, requests=((0, 4), (64, 4))),),
    seed=1,
    slots=2,
    concurrency=None,
    warmup_s=0.0,
    limit_s=1.0,
)
TIMES = (
    b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }".ljust(127)
    + b"\n"
    + bytes(16)
)


@fuzz(mutated(PLAN.model_dump_json().encode()), mutated(TIMES), st.integers(0, 70))
def test_a_plan_is_one_or_is_refused(plan: bytes, times: bytes, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "load-plan.json"
        path.write_bytes(plan)
        path.with_name("load-payloads.bin").write_bytes(bytes(size))
        path.with_name("load-times-measure.npy").write_bytes(times)
        try:
            read = read_plan(path)
            slots = PayloadFile.read(read, path)
        except InputError:
            return
        finally:
            try:
                due = read_times(path, "measure")
            except InputError:
                pass
            else:
                assert due is not None and due.dtype == np.float64 and (np.diff(due) >= 0).all()
        assert len(slots) == read.slots
        assert all(len(request) > 0 for slot in slots for kind in slot for request in kind)


def record(**fields: int) -> bytes:
    made = np.zeros(1, REQUEST)
    made["worker"] = 3
    for name, value in fields.items():
        made[name] = value
    return made.tobytes()


RECORDS = record(reason=1) + record(first_byte_ns=-1, completed_ns=1 << 40) + record(phase=1)
REASONS = b'"one"\n"\\u00e9 two"\n'


@fuzz(mutated(REASONS), mutated(RECORDS), st.lists(st.integers(0, 200), max_size=4))
def test_what_is_recorded_elsewhere_can_be_read_or_is_refused(
    reasons: bytes, records: bytes, cuts: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        keeper = SpoolKeeper(Path(folder), 3, classes=1)
        try:
            for kind, text in (("reasons", reasons), ("spool", records)):
                at = 0
                for piece in pieces(text, cuts):
                    keeper.keep(kind, at, piece)
                    at += len(piece)
        except Malformed:
            pass
        finally:
            keeper.close()
        read, texts = read_spool(Path(folder))
        assert all(isinstance(text, str) and json.dumps(text) for text in texts)
        assert (read["worker"] == 3).all() and (read["request_class"] == 0).all()
        assert (read["reason"] <= len(texts)).all() and (read["completed_ns"] >= 0).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"worker": 2},
        {"request_class": 1},
        {"status": 5},
        {"phase": 2},
        {"reason": 1},
        {"first_byte_ns": -2},
        {"first_byte_ns": 1 << 62},
        {"intended_ns": -1},
        {"sent_ns": -1},
        {"completed_ns": 1 << 62},
    ],
    ids=str,
)
def test_a_record_that_no_recorder_writes_is_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    keeper = SpoolKeeper(tmp_path, 3, classes=1)
    assert keeper.keep("spool", 0, record()[:20]) == 20
    keeper.keep("spool", 20, record()[20:])
    with pytest.raises(Malformed, match="a record of its requests is none"):
        keeper.keep("spool", 48, record(**wrong))
    keeper.close()
    assert len(read_spool(tmp_path)[0]) == 1


def test_no_more_texts_are_kept_than_a_recorder_writes(tmp_path: Path) -> None:
    keeper = SpoolKeeper(tmp_path, 3)
    with pytest.raises(Malformed, match="more to say"):
        keeper.keep("reasons", 0, b'"a"\n' * (MOST_REASONS + 2))
    with pytest.raises(Malformed, match="more to say"):
        keeper.keep("reasons", 0, b'"' + b"a" * 100_000)
    for line in (b"[1]", b'"\\ud800"', b"[" * 9000, b"nonsense"):
        with pytest.raises(Malformed, match="a text of its errors is none"):
            keeper.keep("reasons", 0, line + b"\n")
    recorder = Recorder(tmp_path, 4)
    reply = Reply(Status.REFUSED, "\U0001f600" * 5000, 1, 2, 3, 0, 0)
    recorder.record(0, 1, reply)
    recorder.close()
    kept = keeper.keep("reasons", 0, (tmp_path / "requests-4.reasons").read_bytes())
    assert kept == 12 * LONGEST_REASON + 3, "the longest that a recorder writes"
    keeper.close()
