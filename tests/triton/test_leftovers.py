"""The end of what a dead server left alive."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from harness.triton import leftovers

NAME = "harness_test_leftovers_"
CARELESS = """
import subprocess, sys, time
arguments = [sys.executable, "-c", "import time; time.sleep(60)", "shm-region-prefix-name=" + input()]
for _ in range(2):
    print(subprocess.Popen(arguments).pid, flush=True)
time.sleep(60)
"""


def test_a_parent_that_takes_no_end_in_is_not_waited_for() -> None:
    """As in a container without an init: a run that met such leftovers waited five seconds for each."""
    command = [sys.executable, "-c", CARELESS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdin is not None and parent.stdout is not None
            print(NAME, file=parent.stdin, flush=True)
            left = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
            while not all(NAME in " ".join(each.cmdline()) for each in left):
                time.sleep(0.01)
            began = time.monotonic()
            assert leftovers.end(NAME)
            assert time.monotonic() - began < 4
            assert {each.status() for each in left} == {psutil.STATUS_ZOMBIE}
            assert not leftovers.end(NAME)
        finally:
            parent.kill()
