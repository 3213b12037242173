"""A run's folder as one file: a plain tar, at whose end a manifest has the size and SHA-256 of each file.

The tar isn't compressed (Parquet is), so it can't unpack to more than it weighs. An archive comes from
anybody: each name in it leads below the new run's folder, or it is refused, and the folder is there only once
every file is what the manifest says.

Format: POSIX.1-2001 (pax), https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

from harness import atomic
from harness.clock import now
from harness.plain_file import check_plain, open_plain
from harness.plain_text import quoted
from harness.schema.errors import HarnessError, InputError
from harness.schema.history_result import ArchivedFile, ArchiveManifest
from harness.version import version

MANIFEST = "manifest.json"
MOST_FILES = 100_000
MOST_MANIFEST_BYTES = 40_000_000
MOST_DEPTH = 6
_NEVER = ".lock"
_CHUNK = 1 << 20


def write_archive(run: Path, to: Path) -> ArchiveManifest:
    """Write a run's folder, whose lock is held where it can be, into one file.

    Raises InputError where something is there already, and where there is anything but plain files and
    folders in the run; HarnessError where it can't be written.
    """
    if to.exists():
        raise InputError(f"{to} is there already, and nothing is overwritten: name another file with --to")
    try:
        with atomic.replacing(to, "make room, or name another file with --to") as stream:
            return _written(run, stream)
    except FileNotFoundError as error:
        raise InputError(f"{run} changed while it was read: wait until nothing writes to it") from error


def _written(run: Path, stream: BinaryIO) -> ArchiveManifest:
    files: dict[str, ArchivedFile] = {}
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in _plain_files(run):
            with os.fdopen(open_plain(file), "rb") as content:
                member = tarfile.TarInfo(file.relative_to(run).as_posix())
                member.size = os.fstat(content.fileno()).st_size
                hashed = _Hashed(content)
                archive.addfile(member, hashed)
            files[member.name] = ArchivedFile(bytes=member.size, sha256=hashed.sha256.hexdigest())
        manifest = ArchiveManifest(folder=run.name, exported_at=now(), harness_version=version(), files=files)
        text = manifest.model_dump_json(indent=1).encode()
        last = tarfile.TarInfo(MANIFEST)
        last.size = len(text)
        archive.addfile(last, io.BytesIO(text))
    return manifest


class _Hashed:
    """A stream, and the hash of what was read of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.sha256 = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        self.sha256.update(content)
        return content


def _plain_files(folder: Path) -> Iterator[Path]:
    """Raises InputError for what is neither a plain file nor a folder."""
    for path in sorted(folder.iterdir()):
        check_plain(path, folder=True)
        if path.is_dir():
            yield from _plain_files(path)
        elif path.name != _NEVER:
            yield path


def read_archive(file: Path, results: Path) -> Path:
    """Make the folder of a run in `results` of an archive of it, and name it. Nothing is overwritten.

    Raises InputError for a file that is no such archive or was changed, and where the run is there already;
    HarnessError where the folder can't be written.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        with (
            os.fdopen(open_plain(file), "rb") as stream,
            tempfile.TemporaryDirectory(dir=results, prefix=".importing-") as scratch,
        ):
            made = Path(scratch) / "run"
            made.mkdir(mode=0o777)
            manifest = _unpacked(file, stream, made)
            return _placed(made, results / manifest.folder)
    except FileNotFoundError as error:
        raise InputError(f"{file} isn't there: name a file that `harness history export` wrote") from error
    except (tarfile.TarError, EOFError) as error:
        raise _no_archive(file, "it is torn, or no tar") from error
    except OSError as error:
        raise HarnessError(
            f"the run can't be written into {results} ({error.strerror or error}): make room, or name "
            "another folder with --results"
        ) from error


def _placed(made: Path, folder: Path) -> Path:
    taken = InputError(
        f"{folder} is there already, and nothing is overwritten: name another folder with --results"
    )
    try:
        folder.mkdir()  # it is this process's from here on: the empty folder is replaced, and no other
        made.rename(folder)
    except FileExistsError as error:
        raise taken from error
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise taken from error
        raise
    return folder


def _unpacked(file: Path, stream: BinaryIO, made: Path) -> ArchiveManifest:
    """Write each file of an archive below `made`, and hold them against the manifest."""
    found: dict[str, ArchivedFile] = {}
    text: bytes | None = None
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in archive:
            if text is not None or len(found) >= MOST_FILES:
                raise _no_archive(file, "it has more files than harness writes")
            if not member.isreg() or member.issparse():
                raise _no_archive(file, f"{quoted(member.name, 100)} in it is no plain file")
            content = archive.extractfile(member)
            assert content is not None
            if member.name == MANIFEST:
                text = content.read(MOST_MANIFEST_BYTES)
                continue
            if not _harmless(member.name) or member.name in found:
                raise _no_archive(file, f"a file in it is named {quoted(member.name, 100)}")
            found[member.name] = _copied(content, made / member.name)
    try:
        manifest = ArchiveManifest.model_validate_json(text or b"")
    except ValueError as error:
        raise _no_archive(file, "it has no manifest that this harness reads") from error
    for name in sorted(found.keys() | manifest.files.keys()):
        if found.get(name) != manifest.files.get(name):
            raise _no_archive(file, f"{quoted(name, 100)} in it isn't what was exported")
    return manifest


def _harmless(name: str) -> bool:
    """Whether a name leads to a file below the folder it is taken from."""
    parts = name.split("/")
    return (
        len(parts) <= MOST_DEPTH
        and name.isprintable()
        and all(0 < len(os.fsencode(part)) <= 255 and part not in (".", "..", _NEVER) for part in parts)
    )


def _copied(content: IO[bytes], to: Path) -> ArchivedFile:
    to.parent.mkdir(parents=True, exist_ok=True)
    hashed, size = _Hashed(content), 0
    with to.open("xb") as stream:
        while chunk := hashed.read(_CHUNK):
            stream.write(chunk)
            size += len(chunk)
        stream.flush()
        os.fsync(stream.fileno())
    return ArchivedFile(bytes=size, sha256=hashed.sha256.hexdigest())


def _no_archive(file: Path, why: str) -> InputError:
    return InputError(f"{file} is no whole archive of a run ({why}): have it exported and sent again")
