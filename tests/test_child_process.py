from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness.child_process import end_group, exit_description, last_line


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 0", "exited with status 0"),
        ("exit 3", "exited with status 3"),
        ("kill -KILL $$", "was killed by SIGKILL"),
        ("kill -SEGV $$", "was killed by SIGSEGV"),
        ("kill -40 $$", "was killed by signal 40"),
    ],
)
def test_how_a_process_ended_is_said(script: str, words: str) -> None:
    assert exit_description(subprocess.run(["sh", "-c", script], check=False).returncode) == words


def test_the_last_line_is_that_of_who_said_something() -> None:
    assert last_line("one\n  two  \n\n") == "two"
    assert last_line("x" * 1000) == "x" * 300
    assert last_line(" \n") == "it said nothing"


HOME = Path(__file__).parents[1]
STUBBORN = "trap '' TERM INT HUP; sleep 600 & echo $!; wait"


def test_a_group_is_ended_with_all_that_is_in_it() -> None:
    process = subprocess.Popen(["sh", "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    with process:
        end_group(process)
    assert process.returncode == -signal.SIGKILL
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


PARENT = """\
import subprocess
from harness.child_process import dying_with_us
command = ["sleep", "600"]
child = subprocess.Popen(command, preexec_fn=dying_with_us(), start_new_session=True)
print(child.pid, flush=True)
input()
"""


def test_a_child_dies_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HOME
    )
    with parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=30)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


LATE = """\
import os
from harness.child_process import dying_with_us
die_with_us = dying_with_us()
if os.fork() == 0:
    if os.fork() == 0:  # its parent is not the process that it is to die with
        die_with_us()
        print("began", flush=True)
    os._exit(0)
os.wait()
"""


def test_a_child_whose_parent_is_gone_already_does_not_begin() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], cwd=HOME, capture_output=True, check=True)
    assert done.stdout == b""
