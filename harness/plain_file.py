"""Plain files, opened for what they are: no link is followed, and no pipe or device is waited for.

What lies in a folder that somebody sent, or that others can write to, may lead to anything of the user's.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from harness.schema.errors import InputError

_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a plain file",
}


class TooLarge(InputError):
    """A file has more bytes than any of its kind."""


def open_plain(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of the plain file at `path`, or of a new one where `flags` ask for it.

    Raises InputError where something else is there, and OSError as `os.open`.
    """
    with suppress(FileNotFoundError):
        check_plain(path)  # before it is opened: that alone makes some devices do something
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:  # it became one since
            raise _other(path, stat.S_IFLNK) from error
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _other(path, mode)
    return descriptor


def read_plain(path: Path, most_bytes: int) -> bytes:
    """The content of a plain file. Raises TooLarge for a larger one, and as `open_plain`."""
    with open(open_plain(path), "rb") as stream:
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise TooLarge(
            f"{path} is over {most_bytes / 1e6:g} MB, and harness writes no such file there: remove it, or "
            "have it sent again"
        )
    return content


def check_plain(path: Path, *, folder: bool = False) -> None:
    """Raise InputError where `path` is no plain file (or, with `folder`, neither that nor a folder), and
    OSError where nothing is there."""
    mode = path.lstat().st_mode
    if not (stat.S_ISREG(mode) or (folder and stat.S_ISDIR(mode))):
        raise _other(path, mode)


def _other(path: Path, mode: int) -> InputError:
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    return InputError(f"{path} is {kind}, and only a plain file is read or written there: remove it")
