"""`python -m harness.load.process.forked`: has imported Locust, and forks each load process from itself.

Python and Locust take half a second to a second to import, which a run of hundreds of short points would
spend on each of them; a fork takes some milliseconds. Whoever started it
(`harness.load.coordinator.fork_server`) sends orders over a socket, each with descriptors: where the number
of the process is said and how it ended, its output, and its channel to the driver if it has one. It ends when
the socket's other end is closed, and what it has forked ends with it.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from harness.child_process import die_with, dying_with_us
from harness.load.load_plan import CHANNEL_VARIABLE

ORDER_BYTES = 1 << 20
DESCRIPTORS = 8
ROOM = " " * 4000
"""An argument whose place the command line of what is forked takes, so that `ps` shows what it is."""

_PRELOADED = (
    "locust.main",
    "harness.load.arrivals",
    "harness.load.user",
    "harness.load.process.conductor",
    "harness.load.process.locust_statistics",
    "harness.load.process.loops",
    "harness.load.distributed.master",
    "harness.load.distributed.worker",
)

# As they are before Locust patches them: this process never lets gevent run what it is to do later.
_close, _signal, _waitid, _waitpid = os.close, signal.signal, os.waitid, os.waitpid


def main() -> None:
    orders, parent = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    die_with(parent)  # it may be stopped, and not see that the socket's other end is closed
    ready = select.poll()
    for module in _PRELOADED:
        importlib.import_module(module)
    fork = importlib.import_module("gevent.os").fork_gevent  # watches no child
    ended = _told_of_children()  # after the imports, some of which want to be told themselves
    ready.register(orders, select.POLLIN)
    ready.register(ended, select.POLLIN)
    gc.freeze()  # what is here now is never looked at again, so that it stays shared
    die_with_us = dying_with_us()
    forked: dict[int, int] = {}
    """Where each that lives is spoken of, by its number."""
    while True:
        for descriptor, _ in ready.poll():
            if descriptor == ended:
                _bury(ended, forked)
                continue
            order, descriptors, _, _ = socket.recv_fds(orders, ORDER_BYTES, DESCRIPTORS)
            if not order:
                os._exit(0)
            spoken, *own = descriptors
            if not (pid := fork()):
                for other in (orders.fileno(), spoken, *forked.values()):
                    _close(other)
                _become(die_with_us, own, **json.loads(order))
            for descriptor in own:
                _close(descriptor)
            forked[pid] = spoken
            _say(spoken, {"pid": pid})


def _told_of_children() -> int:
    """A descriptor that can be read when a child has ended."""
    ended, wake = os.pipe()
    os.set_blocking(ended, False)
    os.set_blocking(wake, False)
    _signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    return ended


def _bury(ended: int, forked: dict[int, int]) -> None:
    """Say how each ended that has. Until it is waited for, its number is that of nobody else."""
    with suppress(BlockingIOError):
        os.read(ended, 4096)
    while forked and (child := _waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.si_pid, signal.SIGKILL)  # what it has started
        _, status = _waitpid(child.si_pid, 0)
        if (spoken := forked.pop(child.si_pid, None)) is not None:
            _say(spoken, {"status": os.waitstatus_to_exitcode(status)})
            _close(spoken)


def _say(spoken: int, fact: dict[str, int]) -> None:
    with suppress(BrokenPipeError):  # nobody asks any more
        os.write(spoken, (json.dumps(fact) + "\n").encode())


def _become(
    die_with_us: Callable[[], None],
    descriptors: Sequence[int],
    *,
    module: str,
    arguments: Sequence[str],
    environment: dict[str, str],
    folder: str,
) -> NoReturn:
    """Run the module's `main` in a session of its own, as if Python had been started with it."""
    code = 1
    try:
        die_with_us()
        signal.set_wakeup_fd(-1)
        _signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        output, *channel = descriptors
        for standard, own in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
            os.dup2(own, standard)
        os.chdir(folder)
        os.environ.update(environment)
        if channel:
            os.environ[CHANNEL_VARIABLE] = ",".join(map(str, channel))
        _show([sys.executable, "-m", module, *arguments])
        sys.argv = [module, *arguments]
        _main_of(module)()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _main_of(module: str) -> Callable[[], Any]:
    found: Callable[[], Any] = importlib.import_module("locust.main" if module == "locust" else module).main
    return found


def _show(command: Sequence[str]) -> None:
    """Have this command line shown for this process, in the place of the one that it has inherited.

    Source: proc(5), `/proc/pid/cmdline` and the fields arg_start and arg_end of `/proc/pid/stat`.
    """
    with suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        if start:
            shown = "\0".join(command).encode()[: end - start - 1]
            ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


if __name__ == "__main__":
    main()
