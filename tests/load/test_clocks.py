"""Another machine's clock: the truth lies within the stated error, however unequal the ways are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.clocks import Clock, Reading
from harness.load.distributed.spool_keeper import SpoolKeeper
from harness.load.load_plan import accept_file
from harness.load.process.recorder import Recorder
from harness.load.spools import read_spool, write_clock
from harness.load.wire import Reply
from harness.schema.samples import Status

WAY = st.integers(1_000, 500_000_000)


@given(
    ways=st.lists(st.tuples(WAY, WAY), min_size=1, max_size=9),
    offset_ns=st.integers(-(10**17), 10**17),
    began_ns=st.integers(0, 10**17),
)
def test_the_true_offset_is_within_half_the_fastest_round_trip(
    ways: list[tuple[int, int]], offset_ns: int, began_ns: int
) -> None:
    rounds = []
    now = began_ns
    for there, back in ways:
        rounds.append((now, now + there + offset_ns, now + there + back))
        now += there + back
    reading = Reading.of(rounds)
    assert abs(reading.offset_ns - offset_ns) <= reading.error_ns
    assert reading.error_ns <= (min(there + back for there, back in ways) + 1) / 2


@given(
    offset_ns=st.integers(-(10**17), 10**17),
    drift=st.floats(-1e-4, 1e-4),
    length_ns=st.integers(10**9, 10**13),
    share=st.floats(-0.1, 1.1),
)
def test_a_clock_that_drifts_is_put_right_between_its_readings_and_beyond(
    offset_ns: int, drift: float, length_ns: int, share: float
) -> None:
    def shown(ours_ns: int) -> int:
        return ours_ns + offset_ns + round(drift * ours_ns)

    clock = Clock(tuple(Reading(at, shown(at) - at, 1000) for at in (0, length_ns)))
    at_ns = round(share * length_ns)
    # The drift of the offset over itself is a part in 10⁸ of the time since the first reading.
    tolerance_ns = 2 + abs(at_ns) * drift**2 * 1.01
    assert abs(clock.theirs(at_ns) - shown(at_ns)) <= tolerance_ns
    assert abs(clock.ours(shown(at_ns)) - at_ns) <= tolerance_ns
    assert abs(int(clock.ours(np.array([shown(at_ns)]))[0]) - at_ns) <= tolerance_ns


def test_one_reading_is_an_offset_without_drift() -> None:
    clock = Clock((Reading(10, 500, 7),))
    assert clock.theirs(3) == 503 and clock.ours(503) == 3
    assert (clock.offset_s, clock.error_s) == (5e-7, 7e-9)


def reply(at: int, status: Status = Status.OK, reason: str | None = None) -> Reply:
    first = -1 if reason else at + 2
    return Reply(status, reason, at + 1, first, at + 3, 10, 11)


def test_records_from_elsewhere_are_read_on_the_clock_of_here(tmp_path: Path) -> None:
    for worker, text in ((0, "here"), (1, "there")):
        recorder = Recorder(tmp_path, worker)
        recorder.record(0, 1000, reply(1000))
        recorder.record(0, 2000, reply(2000, Status.TIMEOUT, text))
        recorder.close()
    write_clock(tmp_path, 1, Clock((Reading(0, 400, 1),)))
    requests, reasons = read_spool(tmp_path)
    assert requests["intended_ns"].tolist() == [1000, 2000, 600, 1600]
    assert requests["sent_ns"].tolist() == [1001, 2001, 601, 1601]
    assert requests["first_byte_ns"].tolist() == [1002, -1, 602, -1]
    assert requests["completed_ns"].tolist() == [1003, 2003, 603, 1603]
    assert [reasons[number - 1] for number in requests["reason"] if number] == ["here", "there"]


def test_what_is_sent_home_is_kept_in_order_and_a_gap_is_refused(tmp_path: Path) -> None:
    away, home = tmp_path / "away", tmp_path / "home"
    away.mkdir()
    home.mkdir()
    recorder = Recorder(away, 2)
    for number in range(100):
        recorder.record(0, number, reply(number, Status.REFUSED, f"no {number % 3}"))
    recorder.close()
    keeper = SpoolKeeper(home, 2)
    spool, texts = (away / f"requests-2.{kind}" for kind in ("spool", "reasons"))
    assert keeper.keep("reasons", 0, texts.read_bytes()) == texts.stat().st_size == recorder.text_bytes
    assert keeper.keep("spool", 0, spool.read_bytes()[:100]) == texts.stat().st_size + 100
    with pytest.raises(ValueError, match="byte 200 of the spool came, and 100 was due"):
        keeper.keep("spool", 200, spool.read_bytes()[200:])
    keeper.keep("spool", 100, spool.read_bytes()[100:])
    assert (read_spool(home)[0] == read_spool(away)[0]).all() and recorder.spool_bytes == 4800
    assert read_spool(home)[1] == ["no 0", "no 1", "no 2"]


@pytest.mark.parametrize(
    "name", ["../load-plan.json", "/etc/passwd", "sitecustomize.py", "", "load-plan.json/.."]
)
def test_a_worker_writes_no_file_but_a_plans(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(ValueError, match="is no file of a load plan"):
        accept_file(inside, name, 0, b"x")
    with pytest.raises(KeyError):
        SpoolKeeper(inside, 0).keep("../spool", 0, b"x")
    assert accept_file(inside, "load-plan.json", 0, b"{}") == 2
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [
        *("load-plan.json", "requests-0.reasons", "requests-0.spool")
    ]
