"""Processes that this one starts: they can't outlive it, end with all of their own, and it is said how."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

_PR_SET_PDEATHSIG = 1
_GROUP_GONE_S = 5.0
_LOOK_S = 0.01
_LONGEST_LINE = 300


def dying_with_us() -> Callable[[], None]:
    """What a child of this process is to call, once it is forked: a `preexec_fn`, say.

    The kernel then kills it when the thread that forked it ends, by `kill -9` of this process too (prctl(2),
    PR_SET_PDEATHSIG). So fork from the main thread, or from one that lives as long as the child shall.
    """
    parent, libc = os.getpid(), ctypes.CDLL(None)  # a child that is forked should load nothing
    return lambda: die_with(parent, libc)


def die_with(parent: int, libc: ctypes.CDLL | None = None) -> None:
    """To be called by a process that `parent` has started: as `dying_with_us`, from the child's side."""
    (libc or ctypes.CDLL(None)).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a group, and all of that group, and wait until they are gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    give_up = time.monotonic() + _GROUP_GONE_S
    while _group_lives(process.pid) and time.monotonic() < give_up:
        time.sleep(_LOOK_S)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    # Where nobody takes in orphans, as in a container without an init, the dead stay in the group.
    for process in psutil.process_iter(["status"]):
        with suppress(OSError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
    return False


def lives(process: psutil.Process) -> bool:
    """Whether it does. One that has ended may stay as a zombie for as long as its parent likes."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def exit_description(status: int) -> str:
    """How a process ended, from `Popen.returncode`; to be put after its name."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:  # most of the real-time signals have no name
        return f"was killed by signal {-status}"


def last_line(output: str) -> str:
    """The last line that is not blank, in a length for a sentence."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:_LONGEST_LINE] if lines else "it said nothing"
