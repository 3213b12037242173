"""A process that may have few files and connections open gets more, or is told that it can't."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from harness import descriptors
from harness.schema.errors import InputError
from harness.schema.expansion import expand
from harness.schema.point import Point
from harness.schema.scenario import Scenario


def points(protocol: str = "http", workers: int = 1, users: int = 900) -> tuple[Point, ...]:
    text = (
        f'{{"model": "m", "protocol": "{protocol}", "requests": [{{"name": "r"}}],'
        f' "load": {{"concurrency": {users}, "workers": {workers}}}}}'
    )
    return expand(Scenario.model_validate_json(text))


def test_users_that_can_not_have_a_connection_each_are_refused_with_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1000, 1000))
    said = r"900 users take 900 connections, .* may have 1000 files .*raise the hard limit \(`ulimit -Hn`"
    with pytest.raises(InputError, match=said):
        descriptors.check_fits(points(), load_here=True, server_here=False)
    with pytest.raises(InputError, match=said):
        descriptors.check_fits(points(workers=2), load_here=True, server_here=True)
    descriptors.check_fits(points(workers=2), load_here=True, server_here=False)
    descriptors.check_fits(points(), load_here=False, server_here=False)
    descriptors.check_fits(points("grpc"), load_here=True, server_here=True)
    descriptors.check_fits(points(users=700), load_here=True, server_here=True)


def in_a_process(soft: int, hard: int, script: str) -> str:
    """What it prints."""
    limits = (soft, hard)
    return subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits),
    ).stdout


def test_the_soft_limit_is_raised_as_far_as_the_hard_one_and_for_what_is_started() -> None:
    script = (
        "import subprocess; from harness.load.coordinator.fork_server import ForkServer;"
        "ForkServer().__enter__(); print(subprocess.getoutput('ulimit -n'))"
    )
    assert in_a_process(256, 777, script) == "777\n"


def test_a_process_without_a_descriptor_left_says_so_and_charges_nobody() -> None:
    """An open loop takes no more connections than it may have."""
    script = """
import os
from harness.load.process import loops
from harness.load.wire import open_connection
pool = loops.OpenLoop(lambda: None, iter([]), None, 1.0)
print(pool._most)
open_connection("http", "127.0.0.1", 9, 1.0).call(b"x")  # the event loop has what it needs
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
try:
    open_connection("http", "127.0.0.1", 9, 1.0).call(b"x")
except Exception as error:
    print(type(error).__name__, error)
"""
    room, *said = in_a_process(300, 300, script).splitlines()
    assert int(room) == 300 - descriptors.OF_A_PROCESS
    assert said == [
        "NoDescriptors it has all of the 300 files and connections open that it may: "
        "raise its limit (`ulimit -n`), or share the load among more --workers"
    ]
