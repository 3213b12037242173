"""Real files to make payloads of: a user's folder, or the Python standard library of this machine."""

from __future__ import annotations

import functools
import sysconfig
from pathlib import Path

from harness.confined import confined
from harness.schema.errors import InputError

LARGEST_BYTES = 64 * 1024 * 1024
"""A larger file is read this far."""


def user_files(base_dir: Path, folder: str, request: str) -> tuple[Path, ...]:
    """Every file under `folder`, in sorted order.

    `folder` is in `base_dir` (the scenario file's folder), and no link leads out of it. Raises InputError
    otherwise, and where there is no file.
    """
    said = f"folder {folder!r} of request class {request!r}"
    top = confined(base_dir, folder, said)
    if not top.is_dir():
        raise InputError(f"{said} is not a folder ({top}): make it, or correct the path")
    try:
        found = sorted(path for path in top.rglob("*") if path.is_file())
    except OSError as error:
        raise InputError(
            f"{said} can't be listed ({error.strerror}): give yourself the right to read it"
        ) from error
    for path in found:
        if not path.resolve().is_relative_to(top):
            raise InputError(f"{said}: {path.name} is a link out of the folder: copy the file into it")
    files = tuple(path for path in found if path.stat().st_size > 0)
    if not files:
        raise InputError(f"{said} has no file with content: put some there")
    return files


@functools.cache
def standard_library() -> tuple[Path, ...]:
    """The Python files of the running interpreter's standard library, in sorted order."""
    top = Path(sysconfig.get_paths()["stdlib"])
    files = (
        f for f in top.rglob("*.py") if "site-packages" not in f.parts and "dist-packages" not in f.parts
    )
    return tuple(sorted(f for f in files if f.stat().st_size > 0))


def content(path: Path, most: int = LARGEST_BYTES) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(most)
    except OSError as error:
        raise InputError(
            f"{path} can't be read ({error.strerror}): give yourself the right to read it"
        ) from error
