"""The server's process: starting it so that it can't outlive us, ending it, reading its last words."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from harness.schema.errors import ServerError

HOST = "127.0.0.1"

_PR_SET_PDEATHSIG = 1


def start(command: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start `command` in a process group of its own, its output appended to `log`.

    The kernel kills it when the thread that calls this ends, a `kill -9` of this process included: so call
    it from the main thread, or one that lives as long as the server shall.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
    except OSError as error:
        raise ServerError(
            f"{command[0]} can't be started ({error.strerror}): "
            "set HARNESS_CACHE to a folder whose disk allows programs to run"
        ) from error


class Guard:
    """Kills a process group when this process is gone, however it went.

    The kernel's death signal reaches only the server. A model instance that it leaves in the middle of a
    request can wait for ever on a lock in shared memory that the dead server held.
    """

    def __init__(self, group: int) -> None:
        listen, self._hold = os.pipe()
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _ || kill -s KILL -- "-$1"', "guard", str(group)],
            stdin=listen,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(listen)

    def dismiss(self) -> None:
        """To be called once the group is gone: its number may be another's by then."""
        with suppress(BrokenPipeError):
            os.write(self._hold, b"\n")
        os.close(self._hold)
        self._process.wait()


def end(process: subprocess.Popen[bytes], *, grace_s: float) -> None:
    """End the process and all of its group: asked first, if there is a grace time, then killed."""
    if grace_s > 0 and process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    give_up = time.monotonic() + 5
    while _group_lives(process.pid) and time.monotonic() < give_up:
        time.sleep(0.01)


def _group_lives(group: int) -> bool:
    for process in psutil.process_iter(["status"]):
        with suppress(OSError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
    return False


def family(process: subprocess.Popen[bytes]) -> list[int]:
    """Ids of the process and its descendants; empty once it is dead."""
    if process.poll() is not None:
        return []
    with suppress(psutil.Error):
        return [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    return []


def choose_port(asked: int, last: int, option: str, host: str = HOST) -> int:
    """`asked`; if that is 0, `last` while it is free, or any free one. ServerError for a used port."""
    if asked:
        if not _free(host, asked):
            raise ServerError(f"port {asked} ({option}) is in use: end what holds it, or choose another")
        return asked
    if last and _free(host, last):
        return last
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise _not_ours(host) from error
        port: int = probe.getsockname()[1]
        return port


def _free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
                raise _not_ours(host) from error
            if error.errno == errno.EACCES:
                raise ServerError(f"port {port} is reserved for root: choose one above 1023") from error
            return False
    return True


def _not_ours(host: str) -> ServerError:
    return ServerError(f"{host} is no address of this machine: give --host one of its own, as a number")


def exit_words(status: int) -> str:
    """How a process ended, from `Popen.returncode`."""
    if status < 0:
        return f"was killed by signal {-status} ({signal.Signals(-status).name})"
    return f"exited with status {status}"


def last_words(log: Path, start: int = 0) -> str | None:
    """The last line of Triton's log after byte `start` that tells of an error; None if there is none."""
    with log.open("rb") as stream:
        stream.seek(start)
        text = stream.read().decode(errors="replace")
    logged = re.findall(r'^E\d{4} [\d:.]+ \d+ [\w.]+:\d+\] "?(.*?)"?$', text, re.MULTILINE)
    # Every server on a machine without a GPU says this one. What is printed is vaguer than what is logged.
    logged = [line for line in logged if not line.startswith("CudaDriverHelper")]
    printed = re.findall(r"^(?:error: |terminate called |.*: error while loading )(.+)$", text, re.MULTILINE)
    said: list[str] = logged or printed
    return said[-1].strip() if said else None
