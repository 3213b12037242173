"""A file is replaced whole, or stays what it was."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from harness.schema.errors import HarnessError

_REMEDY = (
    "make room or choose another folder with --results; "
    "what was measured before is kept, and `harness run --resume` goes on from there"
)


@contextmanager
def replacing(path: Path, remedy: str = _REMEDY) -> Iterator[BinaryIO]:
    """What is written in the block becomes `path` at its end; on failure the earlier file is still there.

    Raises HarnessError with the remedy for a full disk or a folder that can't be written.
    """
    # A name that nobody can foresee, and only a file that wasn't there: whatever lies in the folder, a link
    # to something of the user's, say, is neither followed nor overwritten.
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(scratch, flags, 0o666), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise HarnessError(f"{path} can't be written ({error.strerror or error}): {remedy}") from error
    finally:
        with suppress(OSError):
            scratch.unlink()


def write_text(path: Path, text: str, remedy: str = _REMEDY) -> None:
    """`path` becomes `text`, in UTF-8. Raises as `replacing`."""
    with replacing(path, remedy) as stream:
        stream.write(text.encode())


def _sync_folder(folder: Path) -> None:
    """So that the new name, too, outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
