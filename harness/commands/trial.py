"""What `harness run` will do to this machine, done once in small: a trial says what fails, and the remedy.

What a trial makes it also removes.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from harness.cache import cache_dir
from harness.schema.errors import HarnessError
from harness.triton import install
from harness.triton.embedded import environment_of

_SET_CACHE = "set HARNESS_CACHE to a folder that you can write, on a disk from which programs may run"
_STARTS_S = 60.0
SHARED_MEMORY_BYTES = 64 << 20
"""What Triton's Python backend asks for at its start, for each instance of a model."""


def cache() -> str | None:
    """Whether the cache takes files, and the system runs programs from it, as Triton is."""
    try:
        folder = cache_dir()
    except HarnessError as error:
        return str(error)
    try:
        with _scratch(folder) as scratch:
            program = scratch / "program"
            program.write_text("#!/bin/sh\nexit 0\n")
            program.chmod(0o700)
            try:
                subprocess.run([program], check=True, timeout=_STARTS_S)
            except (OSError, subprocess.SubprocessError) as error:
                why = error.strerror if isinstance(error, OSError) else error
                return f"the disk of the cache folder {folder} lets no program run ({why}): {_SET_CACHE}"
    except OSError as error:
        return f"the cache folder {folder} can't be written ({error.strerror}): {_SET_CACHE}"
    return None


def triton() -> str | None:
    """Whether the embedded Triton's program starts, where it is there already."""
    if not install.WHEEL.present:
        return None
    try:
        triton = install.provision()
        done = subprocess.run(
            [triton.server, "--help"],
            env=environment_of(triton),
            capture_output=True,
            text=True,
            timeout=_STARTS_S,
            check=False,
        )
    except (HarnessError, OSError, subprocess.SubprocessError) as error:
        return str(error)
    if "--model-repository" in done.stdout + done.stderr:
        return None
    said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    return f"its program doesn't start ({said[:300]}): remove {install.WHEEL.folder}, and run this again"


def writable(folder: Path, option: str) -> str | None:
    """Whether a run can write into a folder that `option` puts elsewhere."""
    try:
        with _scratch(folder):
            return None
    except OSError as error:
        where = folder.absolute()
        return f"{where} can't be written ({error.strerror}): give {option} a folder that you can write"


def shared_memory() -> str | None:
    """Whether there is as much shared memory as one instance of a model takes."""
    remedy = "mount a larger /dev/shm, in a container with `--shm-size=1g`"
    name = Path("/dev/shm") / f"harness_doctor_{secrets.token_hex(8)}"
    try:
        try:
            with name.open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, SHARED_MEMORY_BYTES)
        finally:
            with suppress(OSError):
                name.unlink()
    except OSError as error:
        return f"{SHARED_MEMORY_BYTES >> 20} MB can't be had in /dev/shm ({error.strerror}): {remedy}"
    return None


def temporary() -> str | None:
    """Whether temporary files can be made."""
    try:
        with tempfile.NamedTemporaryFile(prefix="harness-doctor-"):
            return None
    except OSError as error:
        return f"temporary files can't be made ({error.strerror}): set TMPDIR to a folder that you can write"


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder in `folder`, which is made, and goes again where it wasn't there. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    with ExitStack() as made:
        for path in reversed(missing):
            path.mkdir()
            made.callback(path.rmdir)
        scratch = folder / f".harness-doctor-{secrets.token_hex(8)}"
        scratch.mkdir(mode=0o700)
        made.callback(shutil.rmtree, scratch, ignore_errors=True)
        yield scratch
