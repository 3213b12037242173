"""Locust's channel with somebody at it who means no good: the run goes on, or ends in one sentence."""

from __future__ import annotations

import stat
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.commands import worker
from harness.commands.worker import work
from harness.load.coordinator.driver import drive
from harness.load.coordinator.load_processes import checked_address
from harness.load.coordinator.workers import EndedEarly, Workers
from harness.load.distributed.messages import CHUNK, Malformed, said, versions
from harness.load.distributed.secret import SECRET_VARIABLE
from harness.load.job import Job
from harness.load.spools import read_spool
from harness.schema.errors import HarnessError, InputError
from harness.schema.load import PointLoad
from tests.load.rogue_worker import Rogue, besieged, joined
from tests.load.shared_fork_server import shared_fork_server
from tests.load.test_drive import job, point
from tests.load.test_workers import supervised
from tests.ports import free_port

NOBODY = 9
"""A port where no Triton listens: a request that can't be sent is recorded like any other."""


def load(folder: Path, workers: int = 1, duration_s: float = 1.0) -> Job:
    what = PointLoad(rate_per_s=50, arrivals="constant", workers=workers)
    return job(point("http", what, warmup_s=0.2, duration_s=duration_s), NOBODY, folder)


def listening(folder: Path) -> tuple[Job, int]:
    listen = checked_address("127.0.0.1", free_port())
    return replace(load(folder), listen=listen), listen[1]


SECRET = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("secret", [None, SECRET], ids=["open", "secret"])
def test_a_run_goes_on_while_a_stranger_at_its_port_does_what_it_can(
    tmp_path: Path, secret: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if secret is not None:
        monkeypatch.setenv(SECRET_VARIABLE, secret)
    what, port = listening(tmp_path)
    told: list[str] = []
    largest: list[int] = []
    over = threading.Event()

    def watch(pids: tuple[int, ...]) -> None:
        def look() -> None:
            while not over.wait(0.1) and all(map(psutil.pid_exists, pids)):
                largest.extend(psutil.Process(pid).memory_info().rss for pid in pids)

        threading.Thread(target=look).start()

    fork_server = shared_fork_server() if secret is None else None
    with besieged(port), supervised(port):
        try:
            outcome = drive(what, fork_server=fork_server, on_started=watch, say=told.append)
        finally:
            over.set()
    assert outcome.ended is None
    requests, _ = read_spool(outcome.folder)
    assert len(requests) > 40
    assert max(largest) < 300e6
    assert any(("were dropped" if secret is None else "were refused") in sentence for sentence in told), told


@pytest.mark.parametrize(
    "words",
    [
        [("failed", {})],
        [("clock", {"reading": [0, 0, 0]})],  # the master's own word
        [("recorded", {"kind": "spool", "at": 0, "data": b"\xff" * 48})],
    ],
    ids=lambda words: words[0][0],
)
def test_a_load_process_that_says_what_none_says_is_named_in_a_sentence(
    tmp_path: Path, words: list[tuple[str, dict[str, Any]]]
) -> None:
    what, port = listening(tmp_path)
    with joined(port, words):
        outcome = drive(what, fork_server=shared_fork_server())
    assert outcome.ended is not None
    assert outcome.ended.startswith("load process 0 on ")
    assert " sent what no load process sends: " in outcome.ended


def test_a_load_process_whose_word_to_locust_went_to_a_master_before_has_its_users(tmp_path: Path) -> None:
    what, port = listening(tmp_path)
    users: list[int] = []

    def act() -> None:
        process = Rogue(port, "latecomer")
        process.join(ready=False)
        process.say("here", host="h", pid=1)
        for _ in range(40):
            kind, data = process.heard()
            if kind == "spawn":
                users.append(data["user_classes_count"]["PlannedUser"])
                break
            if data.get("do") == "ping":
                process.say("pong", sent_ns=data["sent_ns"], at_ns=time.monotonic_ns())
        process.say("failed", reason="enough was seen")
        process.close()

    thread = threading.Thread(target=act)
    thread.start()
    outcome = drive(what, fork_server=shared_fork_server())
    thread.join()
    assert users == [1]
    assert outcome.ended is not None and outcome.ended.endswith("failed: enough was seen")


@pytest.mark.parametrize(
    "word",
    [
        None,
        5,
        {},
        {"event": None},
        {"event": ["failed"], "reason": "x"},
        {"event": "failed"},
        {"event": "failed", "reason": 5},
        {"event": "here", "host": 5, "pid": None},
        {"event": "ready", "users": -1},
        {"event": "recorded", "kind": "../../outside", "at": 0, "data": b"x"},
        {"event": "recorded", "kind": "spool", "at": 1 << 62, "data": b"x"},
        {"event": "recorded", "kind": "spool", "at": 0, "data": bytes(CHUNK + 1)},
        {"event": "progress", "worker": 7},
        {"event": "came", "worker": 0, "host": "h", "pid": 1},
        {"event": "over", "phase": "MEASURE", "window": [1 << 63, 0]},
        {"event": "pong", "sent_ns": 0, "at_ns": True},
        {"event": "lost", "token": "x" * 65, "how": ""},
    ],
    ids=lambda word: str(word)[:50],
)
def test_what_is_no_word_of_a_load_process_is_malformed(word: Any) -> None:
    with pytest.raises(Malformed):
        said(word)


def test_a_long_reason_is_cut() -> None:
    assert len(said({"event": "failed", "reason": "x" * 10_000})["reason"]) == 300


def test_a_clock_that_runs_away_loses_its_load_process(tmp_path: Path) -> None:
    job = load(tmp_path)
    job.folder.mkdir()
    members = Workers(job, lambda _: None, lambda _: None)
    members.hear({"event": "clock", "worker": 0, "reading": [0, 5, 1]})
    members.hear({"event": "clock", "worker": 0, "reading": [10**9, 10**6, 1]})
    with pytest.raises(EndedEarly, match="the load process has a clock that can't be followed"):
        members.hear({"event": "clock", "worker": 0, "reading": [2 * 10**9, 1 << 61, 1]})


def test_load_processes_of_this_machine_listen_where_no_other_user_can_come(tmp_path: Path) -> None:
    pids: list[int] = []
    ports: list[str] = []
    modes: list[int] = []

    def look() -> None:
        for process in map(psutil.Process, pids):
            ports.extend(str(c) for c in process.net_connections("inet") if c.status == "LISTEN")
            assert not [word for word in process.cmdline() if len(word) == 16 and word.isalnum()], "a token"
            paths = [Path(str(connection.laddr)) for connection in process.net_connections("unix")]
            modes.extend(stat.S_IMODE(p.parent.stat().st_mode) for p in paths if p.name == "master")

    outcome = drive(
        load(tmp_path, workers=2), fork_server=shared_fork_server(), on_started=pids.extend, between=look
    )
    assert outcome.ended is None
    assert ports == [] and modes and set(modes) == {0o700}


def test_who_does_not_know_the_secret_takes_no_part_and_sees_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.load.coordinator.driver._START_S", 7.0)
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    what, port = listening(tmp_path)
    told: list[str] = []
    heard: list[dict[str, Any]] = []

    over = threading.Event()

    def intrude() -> None:
        rogue = Rogue(port)
        for _ in range(60):
            if over.is_set():
                break
            rogue.locust("client_ready", "2.40.0")
            rogue.say("hello", token="0" * 16, wants=None, host="h", pid=1, versions=versions())
            heard.append(rogue.order())
        rogue.close()

    intruder = threading.Thread(target=intrude)
    intruder.start()
    monkeypatch.setenv(SECRET_VARIABLE, SECRET[::-1])
    with supervised(port) as other:
        monkeypatch.setenv(SECRET_VARIABLE, SECRET)
        with pytest.raises(HarnessError, match=r"came to .* the same HARNESS_WORKER_SECRET"):
            drive(what, say=told.append)
        other.kill()
        assert other.stderr is not None
        words = other.stderr.read()
    over.set()
    intruder.join()
    assert "has not the same HARNESS_WORKER_SECRET, or none" in words
    assert heard and not any(heard)
    assert any("has not the same HARNESS_WORKER_SECRET" in sentence for sentence in told), told
    assert not any("can take part in this run" in sentence for sentence in told)


def test_a_secret_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "letmein")
    for ask in (lambda: checked_address("127.0.0.1", 0), lambda: work("127.0.0.1", once=True)):
        with pytest.raises(InputError, match="less than 16 characters: set it to what `openssl rand"):
            ask()


def test_a_run_that_other_machines_reach_without_a_secret_says_what_that_leaves_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.load.coordinator.driver._START_S", 2.0)
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    told: list[str] = []
    with pytest.raises(HarnessError, match="0 of a load process came"):
        what = replace(load(tmp_path), listen=("0.0.0.0", checked_address("0.0.0.0", 0)[1]))
        drive(what, fork_server=shared_fork_server(), say=told.append)
    assert any(
        "to keep others out, set HARNESS_WORKER_SECRET there and here" in sentence for sentence in told
    )


def test_a_run_that_is_gone_is_told_from_a_point_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        over, succeeded = False, True

        def __init__(self, *_: object) -> None:
            pass

        def messages(self, _: float) -> list[dict[str, object]]:
            self.over = True
            return [{"event": "joined", "worker": 0, "of": 2}, *ends.pop()]

        def end(self, grace_s: float) -> None:
            pass

    monkeypatch.setattr(worker, "PipedProcess", Process)
    said: list[str] = []
    ends: list[list[dict[str, object]]] = [[{"event": "missed"}], []]
    while ends:
        work("127.0.0.1:9", once=True, say=said.append)
    at = "127.0.0.1:9"
    assert [words for words in said if "waiting" not in words and "whoever" not in words] == [
        f"load process 0 (of 0 to 1) for the run at {at}",
        "the point is over",
        f"load process 0 (of 0 to 1) for the run at {at}",
        f"the run at {at} is gone: it said nothing more, and its point is not finished",
    ]
