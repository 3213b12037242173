"""A real container engine with an image of Triton in it: Debian's `docker.io`, out of everybody's way.

The engine runs in a network and among mounts of its own, with folders of its own, and is gone with the tests,
however they end. What shall reach its published ports runs in its network too:

    def test_it(engine: Engine) -> None:
        subprocess.run([*engine.inside, "docker", "run", engine.image, …], env=os.environ | engine.env)

where a conftest.py has `from tests.container_engine import engine`. Where no engine can run, such a test is
skipped, with the reason.

The image is Debian's packages of Python, extracted, with the wheel's tritonserver where NVIDIA's images have
theirs, its Python backend, harness's own, numpy and onnxruntime. The packages come from the mirror that this
machine's apt is configured with, once: they are kept in the user's cache folder.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.atomic import replacing_path
from harness.cache import cache_dir, lock
from harness.child_process import dying_with_us
from harness.triton.install import provision
from harness.triton.process import Guard

TOOLS = ("dockerd", "docker", "debootstrap", "nsenter", "unshare", "iptables", "apt-get")
SUITE = "bookworm"
PACKAGES = "python3,libpython3.11"
PYTHON = (3, 11)
"""Of Debian bookworm. The backend's stub is for the Python that runs the tests, which has to be the same."""

LEFT_OUT = ("__pycache__", "tests", "transformers", "tools")
GPU_LIBRARIES = ("libonnxruntime_providers_cuda", "libonnxruntime_providers_tensorrt")
"""Most of the size of what is installed here; nothing in the image needs them."""

PACKAGE_LIMIT_S = 150
ENGINE_LIMIT_S = 60
ANSWER_LIMIT_S = 120

BEGIN = """
mount -t tmpfs none /run && ip link set lo up &&
{ [ ! -d /etc/docker ] || mount -t tmpfs none /etc/docker; } &&
exec dockerd --host="unix://$FOLDER/socket" --data-root="$FOLDER/data" --exec-root="$FOLDER/exec" \
  --pidfile="$FOLDER/pid" --cgroup-parent="/$NAME" --log-level=warn
"""
"""What it mounts is in nobody's way, and it knows nothing of the configuration of another engine here."""

SWEEP = """
cd /
for pause in 0 0.2 1; do
  sleep "$pause"
  find /sys/fs/cgroup -path "*/$NAME/*" -name cgroup.procs -exec cat {} + | sort -u | xargs -r kill -9
  find /proc/[0-9]*/ns/mnt -printf '%p %l\n' | grep --fixed-strings "$MOUNTS" | cut -d/ -f3 | xargs -r kill -9
  find /sys/fs/cgroup -depth -type d \\( -path "*/$NAME/*" -o -name "$NAME" \\) -exec rmdir {} +
done
rm -rf "$FOLDER"
"""
"""Ends the containers, by their control groups, and what lives among the engine's mounts; removes all."""


class CanNotRun(Exception):
    """Why no engine, or no image, can be had here."""


@dataclass
class Engine:
    """A live engine, and the image's id."""

    folder: Path
    image: str = ""
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    guards: list[Guard] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """What makes a docker client ask this engine."""
        return {"DOCKER_HOST": f"unix://{self.folder}/socket", "DOCKER_CONFIG": str(self.folder / "client")}

    @property
    def inside(self) -> list[str]:
        """What to put before a command that shall run in the engine's network."""
        return ["nsenter", f"--net=/proc/{self.started[-1].pid}/ns/net", "--"]

    def ask(self, *words: str) -> str:
        """What docker answers, without the newline."""
        done = subprocess.run(
            ["docker", *words],
            env=os.environ | self.env,
            capture_output=True,
            text=True,
            timeout=ANSWER_LIMIT_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def running(self) -> list[str]:
        """Names of the containers that live."""
        return self.ask("ps", "--format={{.Names}}").split()

    def living(self) -> list[int]:
        """Processes in its containers, whether it knows of them or not."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"/{self.folder.name}/" in (process / "cgroup").read_text():
                    found.append(int(process.name))
        return found

    def variant(self, *, ran: str = ":", setting: str = "") -> str:
        """The id of the image after a shell command, or with another environment variable."""
        name = f"variant-{secrets.token_hex(4)}"
        self.ask("run", f"--name={name}", self.image, "sh", "-c", ran)
        image = self.ask("commit", *([f"--change=ENV {setting}"] if setting else []), name)
        self.ask("rm", name)
        return image

    def die(self) -> None:
        """As by `kill -9`: its containers live on."""
        self.started[-1].kill()
        self.started[-1].wait()

    def start(self) -> None:
        """Raises CanNotRun, with the last that it said."""
        for file in (
            "pid",
            "exec/containerd/containerd.pid",
        ):  # of one that died: a number that may be another's
            (self.folder / file).unlink(missing_ok=True)
        log = self.folder / "log"
        variables = {"FOLDER": str(self.folder), "NAME": self.folder.name}
        with log.open("ab") as output:
            begun = subprocess.Popen(
                ["unshare", "--net", "--mount", "--propagation=private", "sh", "-c", BEGIN],
                env=os.environ | variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=dying_with_us(),
                start_new_session=True,
            )
        self.started.append(begun)
        give_up = time.monotonic() + ENGINE_LIMIT_S
        while True:
            if self._answers():
                mounts = Path(f"/proc/{begun.pid}/ns/mnt").readlink()
                assert mounts != Path("/proc/self/ns/mnt").readlink(), "whose processes will be killed"
                self.guards.append(Guard(SWEEP, MOUNTS=str(mounts), **variables))
                return
            if begun.poll() is not None or time.monotonic() > give_up:
                said = [*log.read_text(errors="replace").splitlines(), "it said nothing"]
                raise CanNotRun(f"Docker's engine doesn't start here: {said[-2] if said[:-1] else said[-1]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        with suppress(AssertionError, subprocess.TimeoutExpired):
            return bool(self.ask("version"))
        return False


@contextmanager
def running_engine() -> Iterator[Engine]:
    """An engine with the image, until the end of the block. Raises CanNotRun."""
    if (why := _lacking()) is not None:
        raise CanNotRun(why)
    base = _base()
    folder = Path(tempfile.mkdtemp(prefix="harness-engine-"))
    made = Engine(folder)
    try:
        made.start()
        made.image = _imported(made, base)
        try:
            made.ask("run", "--rm", "--init", "--publish=127.0.0.1::8000", made.image, "true")
        except AssertionError as error:
            raise CanNotRun(f"Docker's engine runs no container here: {error}") from error
        yield made
    finally:
        for begun in made.started:
            begun.terminate()
        for begun in made.started:
            with suppress(subprocess.TimeoutExpired):
                begun.wait(15)
        for guard in made.guards:
            guard.act()
        for guard in made.guards:
            guard.wait()
        for begun in made.started:
            begun.kill()
            begun.wait()
        shutil.rmtree(folder, ignore_errors=True)
    groups = Path("/sys/fs/cgroup")
    left = [*made.living(), *groups.glob(folder.name), *groups.glob(f"*/{folder.name}"), *_mounts(folder)]
    assert not left, f"the engine left {left}"


def _mounts(folder: Path) -> Iterator[str]:
    """What is mounted in `folder`, in whose mounts ever."""
    for listed in Path("/proc").glob("[0-9]*/mountinfo"):
        with suppress(OSError):
            yield from (line for line in listed.read_text().splitlines() if str(folder) in line)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """One for all tests of a file."""
    try:
        with running_engine() as made:
            yield made
    except CanNotRun as why:
        pytest.skip(str(why))


def _lacking() -> str | None:
    if os.getuid() != 0:
        return "a container engine of the tests' own needs root"
    if (platform.machine(), sys.version_info[:2]) != ("x86_64", PYTHON):
        return f"the image has Debian {SUITE}'s Python 3.11 for x86-64, and the tests run on another"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        return f"{', '.join(lacking)} is missing: apt-get install docker.io debootstrap iptables"
    return None


def _base() -> Path:
    """A tar archive of Debian's part, made if it isn't there yet."""
    archive = cache_dir() / "tests" / f"{SUITE}-{PACKAGES.replace(',', '-')}.tar"
    with lock("test-image"):
        if not archive.exists():
            archive.parent.mkdir(parents=True, exist_ok=True)
            with replacing_path(archive) as scratch:
                _make_base(scratch)
    return archive


def _make_base(archive: Path) -> None:
    """Debian's packages are extracted and not configured: what runs here asks for no more."""
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Identifier: Packages"]
    listed = subprocess.run(targets, capture_output=True, text=True, check=False).stdout.splitlines()
    mirrors = [uri for uri, _, codename in (line.partition(" ") for line in listed) if codename == SUITE]
    if not mirrors:
        raise CanNotRun(f"this machine's apt knows no mirror of Debian {SUITE}, which the image is made of")
    with tempfile.TemporaryDirectory() as scratch:
        fetched, root = Path(scratch, "fetched"), Path(scratch, "root")
        fetch = ["debootstrap", "--download-only", "--variant=minbase", f"--include={PACKAGES}"]
        try:
            done = subprocess.run(
                [*fetch, SUITE, str(fetched), mirrors[0]],
                capture_output=True,
                text=True,
                timeout=PACKAGE_LIMIT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise CanNotRun(f"debootstrap took more than {PACKAGE_LIMIT_S} s") from error
        packages = sorted((fetched / "var/cache/apt/archives").glob("*.deb"))
        if done.returncode != 0 or not packages:
            said = (done.stdout + done.stderr).strip().splitlines()
            raise CanNotRun(f"debootstrap brought no packages: {said[-1] if said else 'it said nothing'}")
        for package in packages:
            subprocess.run(["dpkg-deb", "--extract", str(package), str(root)], check=True)
        with tarfile.open(archive, "w") as tar:
            tar.add(root, ".", filter=_without_shared)


def _without_shared(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """A third of it is documents, time zones and the like."""
    return None if entry.name.startswith("./usr/share/") else entry


def _imported(engine: Engine, base: Path) -> str:
    """The id of the image."""
    triton = provision()
    parts = {
        "opt/tritonserver/bin/tritonserver": triton.server,
        "opt/tritonserver/lib": triton.libs,
        "opt/tritonserver/backends": triton.backends,
        "opt/tritonserver/caches": triton.caches,
    }
    for name in ("numpy", "onnxruntime"):
        package = find_spec(name)
        assert package is not None and package.origin is not None
        folder = Path(package.origin).parent
        parts[f"usr/lib/python3/dist-packages/{name}"] = folder
        if (libraries := folder.with_name(f"{name}.libs")).is_dir():
            parts[f"usr/lib/python3/dist-packages/{name}.libs"] = libraries
    archive = engine.folder / "image.tar"
    shutil.copyfile(base, archive)
    with tarfile.open(archive, "a") as tar:
        for name, path in parts.items():
            tar.add(path, f"./{name}", filter=_for_a_cpu)
    environment = "PATH=/opt/tritonserver/bin:/usr/bin:/bin LD_LIBRARY_PATH=/opt/tritonserver/lib"
    image = engine.ask("import", f"--change=ENV {environment}", str(archive))
    archive.unlink()
    return image


def _for_a_cpu(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    name = entry.name.rpartition("/")[2]
    return None if name in LEFT_OUT or name.startswith(GPU_LIBRARIES) else entry
