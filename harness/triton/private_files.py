"""A process whose new files nobody but its user can open, whatever it asks for.

Its umask sees to that, but for what a program opens up afterwards: Triton's Python backend makes its shared
memory by boost's shared_memory_object, which gives everybody leave to read it by fchmod(2). So that call does
nothing in it, by a filter of system calls (seccomp(2)) that its children inherit.
"""

from __future__ import annotations

import ctypes
import platform
import struct
from collections.abc import Callable

UMASK = 0o077

_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_ALLOW, _SUCCEED = 0x7FFF0000, 0x00050000  # the latter: without doing it

_FCHMOD = {"x86_64": (0xC000003E, 91), "aarch64": (0xC00000B7, 52)}
"""The kernel's name of the architecture (linux/audit.h), and its number of the call."""


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def keeping_private() -> Callable[[], None]:
    """What is to be called in the new process, before its program begins. It has no effect without seccomp.

    It is made beforehand, because a process that was forked among threads should do as little as it can.
    """
    if platform.machine() not in _FCHMOD:
        return lambda: None
    architecture, fchmod = _FCHMOD[platform.machine()]
    instructions = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_IF_EQUAL, 0, 3, architecture),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_EQUAL, 0, 1, fchmod),
        (_RETURN, 0, 0, _SUCCEED),
        (_RETURN, 0, 0, _ALLOW),
    ]
    text = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    program = _Program(len(instructions), text)
    libc = ctypes.CDLL(None)

    def keep_private() -> None:
        libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)

    return keep_private
