from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness.child_process import PARENT_VARIABLE, end_group, exit_description, last_line


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


STUBBORN = "trap '' TERM INT HUP; sleep 600 & echo $!; wait"


def test_a_group_is_ended_with_all_that_is_in_it() -> None:
    process = subprocess.Popen(["sh", "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    with process:
        end_group(process)
    assert process.returncode == -signal.SIGKILL
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_process_may_end_by_itself_first() -> None:
    process = subprocess.Popen(
        ["sh", "-c", "read -r _; exit 5"], stdin=subprocess.PIPE, start_new_session=True
    )
    with process:
        assert process.stdin is not None
        process.stdin.close()
        end_group(process, grace_s=60)
    assert process.returncode == 5
    end_group(process)  # once more is no harm


CHILD = (
    "import time; from harness.child_process import *; die_with_parent(); print(flush=True); time.sleep(600)"
)
BY_ITSELF = f"""\
import os, subprocess, sys
environment = os.environ | {{{PARENT_VARIABLE!r}: str(os.getpid())}}
command = [sys.executable, "-c", {CHILD!r}]
child = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
"""
BY_US = """\
import subprocess
from harness.child_process import dying_with_parent
child = subprocess.Popen(["sleep", "600"], preexec_fn=dying_with_parent(), start_new_session=True)
"""


@pytest.mark.parametrize("start", [BY_ITSELF, BY_US], ids=["asks for it", "is made so"])
def test_a_child_dies_with_a_parent_that_is_killed(start: str) -> None:
    program = f"{start}print(child.pid, flush=True); input()"
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    with parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=30)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


def test_a_child_whose_parent_is_gone_already_does_not_begin() -> None:
    program = "from harness.child_process import die_with_parent; die_with_parent(); print('began')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {PARENT_VARIABLE: str(os.getppid())},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")
