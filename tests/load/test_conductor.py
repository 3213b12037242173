"""What a load process does with the driver's words."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event

from harness.load.endpoint import Endpoint
from harness.load.load_plan import LoadPlan, PlannedClass, PlannedSequence
from harness.load.process.conductor import Conductor
from harness.load.process.recorder import Recorder
from harness.load.wire import Reply
from harness.schema.samples import Phase, Status

PLAN = LoadPlan(
    endpoint=Endpoint(protocol="http", host="127.0.0.1", port=1, timeout_s=1.0),
    classes=(),
    seed=1,
    concurrency=None,
    warmup_s=0.0,
    limit_s=60.0,
)


class Heard:
    """A channel that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.told: list[tuple[int, int, Reply]] = []

    def say(self, event: str, **facts: Any) -> None:
        self.said.append({"event": event} | facts)

    def listen(self, told: Callable[[dict[str, Any]], None]) -> None:
        self.tell = told

    def replied(self, request_class: int, intended_ns: int, reply: Reply) -> None:
        self.told.append((request_class, intended_ns, reply))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [message for message in self.said if message["event"] == event]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def conductor(heard: Heard, tmp_path: Path) -> Conductor:
    made = Conductor(PLAN, Recorder(tmp_path, 0), heard.replied, heard, lambda: None)
    gevent.spawn(made.run)
    gevent.sleep(0)
    return made


def test_enough_is_at_a_time_that_all_share_and_nothing_that_was_due_before_is_left_out(
    conductor: Conductor, heard: Heard
) -> None:
    conductor.arrive()
    now_ns = time.monotonic_ns()
    heard.tell({"do": "begin", "phase": "MEASURE", "at_ns": now_ns, "seconds": 60.0})
    conductor.wait(Phase.MEASURE)
    end_ns = now_ns + 50_000_000
    heard.tell({"do": "enough", "at_ns": end_ns})
    assert conductor.due(end_ns - 1) and not conductor.due(end_ns)
    assert conductor.more()
    heard.tell({"do": "enough", "at_ns": end_ns + 1})
    assert not conductor.due(end_ns), "a phase is never made longer"
    while conductor.more():
        gevent.sleep(0.01)
    assert time.monotonic_ns() >= end_ns


def begun(conductor: Conductor, heard: Heard) -> None:
    """One user is there, and the measured phase has begun."""
    conductor.arrive()
    heard.tell({"do": "begin", "phase": "MEASURE", "at_ns": 1, "seconds": 60.0})
    conductor.wait(Phase.MEASURE)


def ok(completed_ns: int) -> Reply:
    return Reply(Status.OK, None, 6, 7, completed_ns, 1, 1)


def test_an_open_loop_is_settled_when_all_that_was_due_before_the_mark_is_recorded(
    conductor: Conductor, heard: Heard
) -> None:
    begun(conductor, heard)
    assert all(conductor.due(at_ns) for at_ns in (10, 20, 30))
    conductor.record(0, 20, ok(25))
    heard.tell({"do": "mark", "at_ns": 35})
    assert conductor.due(40), "the load goes on"
    conductor.record(0, 40, ok(41))
    conductor.record(0, 30, ok(42))
    gevent.sleep(0.01)
    assert heard.of("settled") == []
    conductor.record(0, 10, ok(50))
    gevent.sleep(0.01)
    assert heard.of("settled") == [{"event": "settled", "spool_bytes": 4 * 48, "text_bytes": 0}]
    assert conductor.due(60)


def test_an_open_loop_of_sequences_is_settled_when_those_that_began_before_the_mark_have_ended(
    heard: Heard, tmp_path: Path
) -> None:
    steps = PlannedSequence(between=(3, 3))
    plan = PLAN.model_copy(
        update={"classes": (PlannedClass(name="a", weight=1, requests=((0, 1),), sequence=steps),)}
    )
    conductor = Conductor(plan, Recorder(tmp_path, 0), heard.replied, heard, lambda: None)
    gevent.spawn(conductor.run)
    gevent.sleep(0)
    begun(conductor, heard)
    assert conductor.due(10) and conductor.due(20)
    for due_ns in (10, 12, 14):
        conductor.record_step(0, due_ns, ok(due_ns + 1))
    conductor.sequence_ended(10)
    conductor.record_step(0, 20, ok(25))
    heard.tell({"do": "mark", "at_ns": 35})
    assert conductor.due(40) and conductor.goes_on(41), "the load goes on"
    for due_ns in (40, 41, 42):
        conductor.record_step(0, due_ns, ok(due_ns + 1))
    conductor.sequence_ended(40)
    conductor.record_step(0, 26, ok(30))
    conductor.record_step(0, 31, ok(50))
    gevent.sleep(0.01)
    assert heard.of("settled") == []
    conductor.sequence_ended(20)
    gevent.sleep(0.01)
    assert heard.of("settled") == [{"event": "settled", "spool_bytes": 9 * 48, "text_bytes": 0}]
    heard.tell({"do": "enough", "at_ns": 60})
    assert conductor.goes_on(59) and not conductor.goes_on(60)


def test_a_mark_that_comes_late_waits_for_what_was_due_after_it_too(
    conductor: Conductor, heard: Heard
) -> None:
    begun(conductor, heard)
    assert conductor.due(10) and conductor.due(20)
    heard.tell({"do": "mark", "at_ns": 15})
    conductor.record(0, 10, ok(25))
    gevent.sleep(0.01)
    assert heard.of("settled") == []
    conductor.record(0, 20, ok(25))
    gevent.sleep(0.01)
    assert len(heard.of("settled")) == 1


def test_a_closed_loop_is_settled_when_each_user_has_gone_on_after_the_mark(
    heard: Heard, tmp_path: Path
) -> None:
    plan = PLAN.model_copy(update={"concurrency": 2})
    conductor = Conductor(plan, Recorder(tmp_path, 0), heard.replied, heard, lambda: None)
    gevent.spawn(conductor.run)
    gevent.sleep(0)
    answered = [Event(), Event()]

    def user(number: int) -> None:
        conductor.arrive()
        conductor.wait(Phase.MEASURE)
        while conductor.more():
            intended_ns = time.monotonic_ns()
            answered[number].wait()
            conductor.record(0, intended_ns, ok(time.monotonic_ns()))
            gevent.sleep(0.001)
        conductor.leave()

    for number in range(2):
        gevent.spawn(user, number)
    gevent.sleep(0.01)
    heard.tell({"do": "begin", "phase": "MEASURE", "at_ns": time.monotonic_ns(), "seconds": 60.0})
    answered[0].set()
    gevent.sleep(0.05)
    heard.tell({"do": "mark", "at_ns": time.monotonic_ns()})
    gevent.sleep(0.05)
    assert heard.of("settled") == [], "the other user's request was due before"
    answered[1].set()
    gevent.sleep(0.05)
    (settled,) = heard.of("settled")
    assert settled["spool_bytes"] >= 2 * 48
    heard.tell({"do": "stop"})


def test_with_nobody_left_all_is_settled(conductor: Conductor, heard: Heard) -> None:
    begun(conductor, heard)
    conductor.leave()  # an open loop's process that has no share
    gevent.sleep(0.01)
    heard.tell({"do": "mark", "at_ns": 15})
    gevent.sleep(0.01)
    assert len(heard.of("settled")) == 1


def test_a_phase_is_over_when_its_last_user_has_left_and_says_what_was_recorded(
    conductor: Conductor, heard: Heard
) -> None:
    for _ in range(2):
        conductor.arrive()
    gevent.sleep(0)
    assert heard.of("ready")[-1]["users"] == 2
    heard.tell({"do": "begin", "phase": "MEASURE", "at_ns": 1, "seconds": 60.0})
    conductor.wait(Phase.MEASURE)
    conductor.record(0, 5, Reply(Status.OK, None, 6, 7, 8, 1, 1))
    conductor.record(0, 4, Reply(Status.TIMEOUT, "late", 6, -1, 9, 1, 1))
    conductor.leave()
    gevent.sleep(0.01)
    assert heard.of("over") == []
    conductor.leave()
    gevent.sleep(0.01)
    (over,) = heard.of("over")
    assert (over["phase"], over["window"], over["requests"]) == ("MEASURE", [4, 9], 2)
    assert (over["spool_bytes"], over["text_bytes"]) == (96, len('"late"\n'))
    assert [intended_ns for _, intended_ns, _ in heard.told] == [5, 4], "as they were recorded"


def test_replies_are_recorded_some_at_a_time_when_the_event_loop_has_a_turn(
    conductor: Conductor, heard: Heard
) -> None:
    def record(count: int) -> None:
        for _ in range(count):
            conductor.record(0, 5, Reply(Status.OK, None, 6, 7, 8, 1, 1))

    begun(conductor, heard)
    record(7)
    gevent.sleep(0.01)
    assert len(heard.told) == 0
    record(1)
    assert len(heard.told) == 0
    gevent.sleep(0.01)
    assert len(heard.told) == 8
    record(40)  # with no turn between them
    assert len(heard.told) == 40
    gevent.sleep(0.7)  # a tick
    assert len(heard.told) == 48
    record(1)
    conductor.leave()
    gevent.sleep(0.01)
    assert len(heard.told) == heard.of("over")[0]["requests"] == 49


def test_who_comes_after_the_begin_gets_no_share(conductor: Conductor, heard: Heard) -> None:
    begun(conductor, heard)
    late = gevent.spawn(conductor.arrive)
    assert not late.ready() and late.join(0.05) is None and not late.ready()
    conductor.leave()
    gevent.sleep(0.01)
    assert len(heard.of("over")) == 1, "nobody waits for it"
    late.kill()


def test_a_process_without_users_is_over_at_once(conductor: Conductor, heard: Heard) -> None:
    heard.tell({"do": "begin", "phase": "MEASURE", "at_ns": 1, "seconds": 60.0})
    gevent.sleep(0.01)
    (over,) = heard.of("over")
    assert over["window"] is None and over["requests"] == 0 and conductor.start_ns == 1


def test_records_that_cannot_be_written_are_told(
    heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    recorder = Recorder(tmp_path, 0)
    monkeypatch.setattr(recorder, "record", full)
    quits: list[bool] = []
    conductor = Conductor(PLAN, recorder, heard.replied, heard, lambda: quits.append(True))
    gevent.spawn(conductor.run)
    gevent.sleep(0)
    for _ in range(8):
        conductor.record(0, 5, Reply(Status.OK, None, 6, 7, 8, 1, 1))
    gevent.sleep(0.01)
    assert "No space left" in heard.of("failed")[0]["reason"]
    conductor.record(0, 5, Reply(Status.OK, None, 6, 7, 8, 1, 1))
    heard.tell({"do": "end"})
    gevent.sleep(0.01)
    assert quits, "the process ends all the same"
