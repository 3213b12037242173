"""The embedded Triton: the binaries of one pinned wheel, laid out in the per-user cache.

Nothing is installed into the user's environment. The wheel brings the server, its Python backend and the
response cache; harness adds its own `onnxruntime` backend (see `harness.triton.backend.model`).
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from harness.atomic import new_folder
from harness.cache import Wheel, cache_dir, lock, unpacked, written
from harness.schema.errors import HarnessError

WHEEL = Wheel(
    "nvidia-pytriton",
    "0.7.0",
    sha256="21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df",
    megabytes=55,
)

NUMPY = {
    (3, 11): "666dbfb6ec68962c033a450943ded891bed2d54e6755e35e5835d63f4f6931d5",
    (3, 12): "675d61ffbfa78604709862923189bad94014bef562cc35cf61d3a07bba02a7ed",
}
"""Of NumPy 1.26.4 for each Python that has it: the stubs were made for NumPy 1, and misread the arrays of
NumPy 2, so that a Python model's tensors come out empty. Our own backend hands over none."""

TRITON_VERSION = "2.51.0"
"""The version of the server in the wheel."""

BACKEND_SOURCE = Path(__file__).parent / "backend"

_OLDEST_GLIBC = (2, 35)
_OLDEST_STUB, _NEWEST_STUB = (3, 8), (3, 13)
_SELF_CONTAINED_STUB = (3, 13)
"""The stub of this Python version comes with its own libpython; the others use the machine's."""


@dataclass(frozen=True, slots=True)
class Install:
    """Where the parts of the embedded Triton are."""

    server: Path
    """The `tritonserver` binary."""
    libs: Path
    """The shared libraries of the wheel."""
    backends: Path
    """For `--backend-directory`."""
    caches: Path
    """For `--cache-directory`."""
    libpython: Path | None
    """Folder of the shared libpython; None where the loader finds it by itself."""

    @property
    def library_path(self) -> str:
        """`LD_LIBRARY_PATH` of the server process and, through it, of its stubs."""
        return os.pathsep.join(str(p) for p in (self.libs, self.libpython) if p is not None)


def link_numpy(work: Path) -> None:
    """Have Python models that are served from this folder find a NumPy that their stub understands, where
    this Python has one; fetched the first time. Raises HarnessError."""
    sha256 = NUMPY.get(sys.version_info[:2])
    if sha256 is not None:
        wheel = unpacked(Wheel("numpy", "1.26.4", sha256, 18))
        for name in ("numpy", "numpy.libs"):
            (work / name).symlink_to(wheel / name)


def provision() -> Install:
    """The embedded Triton for the running Python, downloaded and laid out if it isn't there yet.

    Raises HarnessError when this machine or Python can't run it, or when the wheel can't be had.
    """
    if found := problems():
        raise HarnessError(found[0])
    wheel = unpacked(WHEEL)
    triton = wheel / "pytriton" / "tritonserver"
    server = triton / "bin" / "tritonserver"
    if not os.access(server, os.X_OK):  # unpacking a wheel drops the executable bits
        server.chmod(0o755)
    return Install(
        server=server,
        libs=wheel / "nvidia_pytriton.libs",
        backends=_backends(triton),
        caches=triton / "caches",
        libpython=_libpython(_python()).folder,
    )


def problems() -> list[str]:
    """Why the embedded Triton can't run here: a sentence each, with the remedy. Downloads nothing."""
    checks = (
        platform_problem(platform.system(), platform.machine(), _glibc()),
        python_problem(_python()),
        environment_problem(),
        path_problem(cache_dir(), "the cache folder", "set HARNESS_CACHE to another folder"),
    )
    return [problem for problem in checks if problem is not None]


def platform_problem(system: str, machine: str, glibc: tuple[int, int] | None) -> str | None:
    elsewhere = "use a server that already runs elsewhere with --url"
    if (system, machine) != ("Linux", "x86_64"):
        return f"the embedded Triton runs on x86-64 Linux, and this is {machine} {system}: {elsewhere}"
    if glibc is None:
        return f"the embedded Triton needs glibc 2.35 or newer, and this is another C library: {elsewhere}"
    if glibc < _OLDEST_GLIBC:
        return (
            f"the embedded Triton needs glibc 2.35 or newer, and this system has {glibc[0]}.{glibc[1]}: "
            f"use Debian 12, Ubuntu 22.04 or newer, or {elsewhere}"
        )
    return None


def python_problem(python: tuple[int, int]) -> str | None:
    version = f"{python[0]}.{python[1]}"
    if not _OLDEST_STUB <= python <= _NEWEST_STUB:
        return (
            f"the embedded Triton supports Python 3.11 to 3.13 here, and this is {version}: "
            "make the environment with one of those"
        )
    library = _libpython(python)
    if not library.found:
        return (
            f"Triton's Python backend needs the shared library {library.name}, which this machine lacks: "
            f"run `apt-get install libpython{version}`, or use a Python built with --enable-shared"
        )
    return None


def environment_problem() -> str | None:
    if importlib.util.find_spec("onnxruntime") is None:
        return "the package onnxruntime is missing here: run `python -m pip install onnxruntime-gpu`"
    if shutil.which("bash") is None:
        return "Triton starts its Python backend through bash, which is missing: run `apt-get install bash`"
    if not os.access("/dev/shm", os.W_OK | os.X_OK):
        return (
            "Triton's Python backend needs shared memory, and /dev/shm can't be written: "
            "mount it, in a container with `--shm-size=1g`"
        )
    return None


def onnxruntime_version() -> str | None:
    """The version of the onnxruntime here, which our backend imports.

    Its files say it: two packages bring them, and the one that was installed last has its own in place.
    """
    package = importlib.util.find_spec("onnxruntime")
    if package is None or package.origin is None:
        return None
    said = re.search(r'^__version__ = "(.+)"$', Path(package.origin).read_text(), re.MULTILINE)
    return said[1] if said else None


def path_problem(path: Path, what: str, remedy: str) -> str | None:
    """Triton's Python backend hands its paths to a shell without quoting, and decodes them as ASCII."""
    if re.fullmatch(r"[\w/.,=@%+~-]+", str(path), re.ASCII):
        return None
    return (
        f"{what} {path} has a character in its name that Triton's Python backend can't take "
        f"(a blank, a quote, one beyond ASCII, ...): {remedy}"
    )


@dataclass(frozen=True, slots=True)
class _Library:
    name: str
    found: bool
    folder: Path | None


def _libpython(python: tuple[int, int]) -> _Library:
    """The shared libpython that the stub of `python` is linked against."""
    name = f"libpython{python[0]}.{python[1]}.so.1.0"
    if python == _SELF_CONTAINED_STUB:
        return _Library(name, found=True, folder=None)
    # The interpreter's own library first, so that the stub runs the very same patch release.
    for folder in (Path(sys.base_prefix) / "lib", Path(sysconfig.get_config_var("LIBDIR") or "/")):
        if (folder / name).is_file():
            return _Library(name, found=True, folder=folder)
    try:
        ctypes.CDLL(name)
    except OSError:
        return _Library(name, found=False, folder=None)
    return _Library(name, found=True, folder=None)


def _python() -> tuple[int, int]:
    return sys.version_info[0], sys.version_info[1]


def _glibc() -> tuple[int, int] | None:
    try:
        said = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return None
    match = re.fullmatch(r"glibc (\d+)\.(\d+).*", said)
    return (int(match[1]), int(match[2])) if match else None


def _backends(triton: Path) -> Path:
    """The folder for `--backend-directory`, keyed by what is in it.

    Copies, because Triton refuses a backend whose files are links out of its folder.
    """
    python = "{}.{}".format(*_python())
    sources = sorted(path for path in BACKEND_SOURCE.glob("*.py") if path.name != "__init__.py")
    content = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    folder = cache_dir() / "triton" / f"{WHEEL.version}-py{python}-{content[:12]}"
    if folder.is_dir():
        return folder
    with lock("triton-backends"):
        if folder.is_dir():  # another process may have been faster
            return folder
        with written(), new_folder(folder) as backends:
            shutil.copytree(triton / "backends" / "python", backends / "python")
            stub = backends / "python" / "triton_python_backend_stub"
            shutil.copyfile(triton / "python_backend_stubs" / python / stub.name, stub)
            stub.chmod(0o755)
            (backends / "onnxruntime").mkdir()
            for path in sources:
                shutil.copyfile(path, backends / "onnxruntime" / path.name)
    return folder
