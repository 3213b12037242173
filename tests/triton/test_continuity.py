"""Signs that a server isn't the one that a point began with."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from harness.triton.continuity import Continuity
from harness.triton.statistics import Statistics

NONE = Statistics(*[0] * 12)


def grown(requests: int) -> Statistics:
    return Statistics(*[requests] * 12)


class Scripted:
    """A server that gives the counters and processes it is told to."""

    def __init__(self) -> None:
        self.counters = NONE
        self.processes: list[int] = []

    def statistics(self, model: str, *, version: int | None = None, settled: bool = True) -> Statistics:  # noqa: ARG002
        return self.counters

    def process_ids(self) -> list[int]:
        return self.processes


def watched() -> tuple[Any, Continuity]:
    server: Any = Scripted()
    return server, Continuity(server, "model")


def test_counters_that_grow_and_processes_that_stay_or_come_are_one_life() -> None:
    server, continuity = watched()
    for requests, processes in ((5, []), (5, [os.getpid()]), (9, [os.getpid(), os.getppid()])):
        server.counters, server.processes = grown(requests), processes
        assert continuity.look() == grown(requests)
        assert continuity.broken is None


def test_a_counter_that_falls_is_a_new_life_and_the_first_sign_is_kept() -> None:
    server, continuity = watched()
    for requests in (100, 40, 7):
        server.counters = grown(requests)
        continuity.look()
    assert continuity.broken == "Triton's counter of successes fell from 100 to 40"


def test_a_process_that_ended_is_a_new_life_even_as_a_zombie() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        server, continuity = watched()
        server.processes = [os.getpid(), child.pid]
        continuity.look()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        continuity.look(settled=False)
        assert continuity.broken == f"its process {child.pid} ended"
    finally:
        child.wait()


def test_processes_that_cannot_be_seen_any_more_are_no_sign() -> None:
    server, continuity = watched()
    server.processes = [os.getpid()]
    continuity.look()
    server.processes = []
    continuity.look()
    assert continuity.broken is None
