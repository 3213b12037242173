"""The server's process: starting it so that it can't outlive us, ending it, reading its last words."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import psutil

from harness import child_process
from harness.address import LOOPBACK
from harness.child_process import dying_with_us, end_group, exit_description
from harness.descriptors import raise_limit
from harness.plain_file import open_plain
from harness.schema.errors import InputError, ServerError
from harness.triton import hidden_argument, private_files

Ports = tuple[int, int, int]
"""Of HTTP, of gRPC and of the metrics."""
PORTS = ("http", "grpc", "metrics")


def start(
    command: Sequence[str],
    env: Mapping[str, str],
    log: Path,
    remedy: str,
    *,
    folder: Path | None = None,
    hidden: Mapping[str, str] = MappingProxyType({}),
    private: bool = False,
) -> subprocess.Popen[bytes]:
    """Start `command` in a process group of its own, its output appended to `log`.

    `folder`: what it works in, where that isn't this process's. `hidden`: arguments of the command and what
    the process is to get in their place, which other users can't see (harness.triton.hidden_argument).
    `private`: nor can they open the files it makes (harness.triton.private_files).

    The kernel kills it when the thread that calls this ends, a `kill -9` of this process included: so call
    it from the main thread, or one that lives as long as the server shall. Raises ServerError, with the
    remedy, where the program can't be run.
    """
    raise_limit()
    die_with_us = dying_with_us()
    keep_private = private_files.keeping_private() if private else None

    def begin() -> None:
        die_with_us()
        if keep_private is not None:
            keep_private()

    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _appending(log) as output:
            options: dict[str, Any] = {
                "env": dict(env),
                "cwd": folder,
                "umask": private_files.UMASK if private else -1,
                "stdin": subprocess.DEVNULL,
                "stdout": output,
                "stderr": subprocess.STDOUT,
                "start_new_session": True,
                "preexec_fn": begin,
            }
            try:
                return hidden_argument.start(command, hidden, **options)
            except hidden_argument.CannotHide as error:
                output.write(f"harness: other users of this machine can see its secret ({error})\n".encode())
                output.flush()
                return subprocess.Popen([hidden.get(given, given) for given in command], **options)
    except OSError as error:
        raise ServerError(f"{command[0]} can't be started ({error.strerror}): {remedy}") from error


@contextmanager
def _appending(log: Path) -> Iterator[BinaryIO]:
    """The log's end. Raises InputError where it leads elsewhere: a run's folder may have been sent."""
    with os.fdopen(open_plain(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as output:
        if os.fstat(output.fileno()).st_nlink > 1:
            raise InputError(f"{log} has another name somewhere, which would be written to: remove it")
        yield output


KILL_GROUP = 'kill -s KILL -- "-$GROUP"'
"""For a `Guard`: end all of the process group $GROUP.

The kernel's death signal reaches only the server. A model instance that it leaves in the middle of a request
can wait for ever on a lock in shared memory that the dead server held.
"""


class Guard:
    """Runs a shell script when this process is gone, however it went.

    `words` are the script's variables: in its arguments a sweep would take them for a straggler's.
    """

    def __init__(self, script: str, **words: str) -> None:
        listen, self._hold = os.pipe()
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", f"read -r _ && exit; {script}", "guard"],
            env=os.environ | words,
            stdin=listen,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(listen)

    def dismiss(self) -> None:
        """To be called once there is nothing left to guard: a number of a group may be another's by then."""
        with suppress(BrokenPipeError):
            os.write(self._hold, b"\n")
        os.close(self._hold)
        self.wait()

    def act(self) -> None:
        """Run the script now, in the background."""
        os.close(self._hold)

    def wait(self) -> None:
        """Until the script has ended."""
        self._process.wait()


class Local:
    """A server that runs as a process of this machine, with those of its model instances.

    Like `start`, whose arguments it takes, it belongs to the thread that makes it.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        remedy: str,
        *,
        folder: Path,
        hidden: Mapping[str, str],
    ) -> None:
        self.command = tuple(command)
        self._log, self._log_start = log, size(log)
        self._process = start(command, env, log, remedy, folder=folder, hidden=hidden, private=True)
        self._guard: Guard | None = Guard(KILL_GROUP, GROUP=str(self._process.pid))

    def exit_reason(self) -> str | None:
        status = self._process.poll()
        if status is None:
            return None
        how = f"Triton {exit_description(status)}"
        if (told := told_to_stop(self._log, self._log_start)) is not None:
            return f"{how} after it was told to stop ({told})"
        last = last_words(self._log, self._log_start) if status >= 0 else None
        return how + (f": {last}" if last else "")

    def refused(self) -> tuple[str, str] | None:
        return refusal(self._log, self._log_start) if (self._process.poll() or 0) > 0 else None

    def process_ids(self) -> list[int]:
        return family(self._process.pid) if self._process.poll() is None else []

    def end(self) -> None:
        if self._guard is not None:
            end_group(self._process)
            self._guard.dismiss()
            self._guard = None


def family(pid: int) -> list[int]:
    """Ids of a process and its descendants; empty once it is dead."""
    with suppress(psutil.Error):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return []


def choose_ports(asked: Ports, last: Ports, host: str = LOOPBACK) -> Ports:
    """Three different ones, each as `choose_port` has it. ServerError for one that is asked for twice.

    The kernel may name a port again once it is let go: two of three were one in 1 of 10,000 starts.
    """
    for option, port in zip(PORTS, asked, strict=True):
        if port and asked.count(port) > 1:
            raise ServerError(f"port {port} ({option}) is given twice: HTTP, gRPC and metrics need one each")
    chosen: list[int] = []
    for option, mine, before in zip(PORTS, asked, last, strict=True):
        others = {*chosen, *asked} - {mine}
        port = choose_port(mine, before if before not in others else 0, option, host)
        while port in others:
            port = choose_port(mine, 0, option, host)
        chosen.append(port)
    http, grpc, metrics = chosen
    return http, grpc, metrics


def choose_port(asked: int, last: int, option: str, host: str = LOOPBACK) -> int:
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
    if ":" in host:
        return ServerError(
            f"{host} is an IPv6 number, and a Triton that harness starts listens on IPv4: give --host such "
            "an address of this machine"
        )
    return ServerError(f"{host} is no address of this machine: give --host one of its own, as a number")


def size(log: Path) -> int:
    """Bytes of the log so far: where what is said next begins."""
    return log.stat().st_size if log.exists() else 0


def said(log: Path, start: int = 0) -> str:
    """What was logged after byte `start`; nothing where nothing was."""
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(start)
        return stream.read().decode(errors="replace")


def last_line(log: Path, start: int = 0) -> str | None:
    """The last line of the log after byte `start` that isn't blank, in a length for a sentence."""
    return child_process.last_line(text) if (text := said(log, start)).strip() else None


def last_words(log: Path, start: int = 0) -> str | None:
    """The last line of Triton's log after byte `start` that tells of an error; None if there is none."""
    text = said(log, start)
    logged = re.findall(r'^E\d{4} [\d:.]+ \d+ [\w.]+:\d+\] "?(.*?)"?$', text, re.MULTILINE)
    # Every server on a machine without a GPU says this one. What is printed is vaguer than what is logged.
    logged = [line for line in logged if not line.startswith("CudaDriverHelper")]
    printed = re.findall(r"^(?:error: |terminate called |.*: error while loading )(.+)$", text, re.MULTILINE)
    found: list[str] = logged or printed
    return found[-1].strip() if found else None


def instance_failure(log: Path, start: int = 0) -> str | None:
    """Why a model instance of the Python backend could not be begun after byte `start` of the log; None where
    that isn't so. Triton (2.51) waits for such a one for ever."""
    stub = r"triton_python_backend_stub: (error while loading shared libraries: .+)$"
    found = re.search(stub, said(log, start), re.MULTILINE)
    return found[1] if found else None


def told_to_stop(log: Path, start: int = 0) -> str | None:
    """The signal by which somebody had Triton end in an orderly way, after byte `start` of its log; None if
    nobody has."""
    found = re.search(r"^Signal \((\d+)\) received\.$", said(log, start), re.MULTILINE)
    if found is None:
        return None
    number = int(found[1])
    return signal.Signals(number).name if number in {*signal.Signals} else f"signal {number}"


def refusal(log: Path, start: int = 0) -> tuple[str, str] | None:
    """The last model that Triton refused to load after byte `start` of its log, and why; None if there is
    none, or if somebody told it to stop while it was loading."""
    if told_to_stop(log, start) is not None:
        return None
    pattern = r"""(?:failed to load|Poll failed for model directory) '(.+?)'(?: version \d+)?: (.*?)"?$"""
    found = re.findall(pattern, said(log, start), re.MULTILINE)
    return (found[-1][0], found[-1][1].replace("\\n", "\n")) if found else None
