"""Arguments of a process that no other user can read.

A command line is open to every user of a machine (/proc/PID/cmdline), and Triton takes a secret nowhere else.
The environment of a process is open to its own user alone. So the secret travels there, and before the
program's first instruction its argument is made to point to it: the command line keeps what stood there.

The kernel lays out a new process's stack as argc, the pointers to the arguments, and those to the
environment, with the strings above them; /proc/PID/stat says where each part is (proc(5): startstack,
arg_start, arg_end, env_start, env_end).
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_TRACEME, _DETACH = 0, 17
_WORD = struct.Struct("@P")
_VARIABLE = "HARNESS_HIDDEN_ARGUMENT_"


class CannotHide(OSError):
    """This machine doesn't let a process trace its own child, or look into it."""


def start(
    command: Sequence[str], hidden: Mapping[str, str], *, env: Mapping[str, str], **options: Any
) -> subprocess.Popen[bytes]:
    """`subprocess.Popen(command, env=env, **options)`, whose process gets `hidden[argument]` for `argument`.

    A script that hands its arguments on shows them to all. Raises OSError where the program can't be run, and
    CannotHide, with nothing left of it, where its arguments can't be hidden.
    """
    if not hidden:
        return subprocess.Popen(command, env=env, **options)
    variables = {argument: f"{_VARIABLE}{number}" for number, argument in enumerate(hidden)}
    secrets = {variables[argument]: secret for argument, secret in hidden.items()}
    ptrace, before = _ptrace(), options.pop("preexec_fn", None)

    def traced() -> None:
        if before is not None:
            before()
        ptrace(_TRACEME, 0)

    try:
        process = subprocess.Popen(command, env={**env, **secrets}, preexec_fn=traced, **options)
    except subprocess.SubprocessError as error:  # what is raised before the program begins
        raise CannotHide(f"its arguments can't be hidden: {error}") from error
    try:
        _wait_until_begun(process)
        _replace(process.pid, variables)
        ptrace(_DETACH, process.pid)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process


def _ptrace() -> Callable[[int, int], None]:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long

    def asked(request: int, pid: int) -> None:
        if libc.ptrace(request, pid, None, None) != 0:
            raise CannotHide(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    return asked


def _wait_until_begun(process: subprocess.Popen[bytes]) -> None:
    """A traced process stops where its new program begins."""
    _, status = os.waitpid(process.pid, 0)
    if not os.WIFSTOPPED(status) or os.WSTOPSIG(status) != signal.SIGTRAP:
        process.returncode = os.waitstatus_to_exitcode(status) if not os.WIFSTOPPED(status) else None
        raise CannotHide(f"the process ended before it began (status {status})")


def _replace(pid: int, variables: Mapping[str, str]) -> None:
    """Let each of these arguments point to the value of its variable."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        stack = int(fields[25])
        arguments, arguments_end, environment, environment_end = map(int, fields[45:49])
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:

            def strings(begin: int, end: int) -> list[bytes]:
                memory.seek(begin)
                return memory.read(end - begin).split(b"\0")

            given, set_ = strings(arguments, arguments_end), strings(environment, environment_end)
            for argument, name in variables.items():
                index = given.index(os.fsencode(argument))  # an interpreter of a script is put before it
                prefix = os.fsencode(f"{name}=")
                before = next(n for n, string in enumerate(set_) if string.startswith(prefix))
                at = environment + sum(len(string) + 1 for string in set_[:before]) + len(prefix)
                memory.seek(stack + (1 + index) * _WORD.size)  # argc comes first
                memory.write(_WORD.pack(at))
    except (OSError, ValueError, IndexError, StopIteration) as error:
        raise CannotHide(f"its arguments can't be hidden: {error}") from error
