"""A file or a folder is replaced whole, or stays what it was.

What is new is made beside it, under a name that nobody can foresee: whatever somebody has laid into the
folder, a link to something of the user's, say, is neither followed nor overwritten.
"""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from harness.schema.errors import HarnessError, NotWritable

_REMEDY = (
    "make room or choose another folder with --results; "
    "what was measured before is kept, and `harness run --resume` goes on from there"
)


@contextmanager
def replacing(path: Path, remedy: str = _REMEDY) -> Iterator[BinaryIO]:
    """What is written in the block becomes `path` at its end; on failure the earlier file is still there.

    It is on the disk then, and outlives a power cut. Raises HarnessError with the remedy for a full disk, and
    NotWritable for a folder that this user may not write.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with replacing_path(path) as scratch, os.fdopen(os.open(scratch, flags, 0o666), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _sync_folder(path.parent)
    except OSError as error:
        forbidden = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        failure = NotWritable if forbidden else HarnessError
        raise failure(f"{path} can't be written ({error.strerror or error}): {remedy}") from error


def write_text(path: Path, text: str, remedy: str = _REMEDY) -> None:
    """`path` becomes `text`, in UTF-8. Raises as `replacing`."""
    with replacing(path, remedy) as stream:
        stream.write(text.encode())


@contextmanager
def replacing_path(path: Path) -> Iterator[Path]:
    """The name of a file to be made in the block, in whichever way; it becomes `path` at its end.

    What reads `path` meanwhile sees the earlier file or the new one. Raises OSError where it can't become it.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        with suppress(OSError):
            scratch.unlink()  # renaming onto another link of the same file does nothing


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder to be filled in the block, which becomes `path` at its end; what stood there goes.

    The folder around it goes with the block, and has room for what is needed only meanwhile. One at a time
    may replace `path`: the caller holds a lock. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        yield made
        if path.exists():
            path.rename(Path(scratch) / "before")
        made.rename(path)


def _sync_folder(folder: Path) -> None:
    """So that the new name, too, outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
