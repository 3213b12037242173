"""Ctrl-C while Python forks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.interrupts import heed_sigint

FORKS = """\
import os, signal, subprocess, sys, time
from harness import cli

def forks():
    os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.SIGINT))
    try:
        subprocess.run(["true"], preexec_fn=lambda: None)
        time.sleep(2)
        return 1
    except KeyboardInterrupt:
        return 0

if sys.argv[1] == "lost":
    cli.raise_again = lambda by: None
cli._ended = forks
cli.main()
"""


@pytest.mark.parametrize("how", ["heeded", "lost"])
def test_an_interrupt_around_a_fork_is_raised_again(how: str) -> None:
    """And is lost without: were it not, nothing here would be needed."""
    done = subprocess.run(
        [sys.executable, "-c", FORKS, how],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=heed_sigint,
    )
    assert done.returncode == (how == "lost"), done.stderr
    assert ("Traceback" in done.stderr) == (how == "lost")
