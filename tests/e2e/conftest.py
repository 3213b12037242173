"""The real command line, in a folder of its own, against the real embedded Triton."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest

from harness.cache import cache_dir
from harness.schema.samples import REQUEST, Phase
from tests.binary import tritonserver
from tests.docker import docker
from tests.interrupts import heed_sigint
from tests.nvml import nvml_double

__all__ = ["docker", "nvml_double", "tritonserver"]

HARNESS = [sys.executable, "-m", "harness"]

TINY = """\
model: double.onnx
server: {queue_delay_us: 5000, max_batch: [4, 8]}
requests:
  - {name: small, axes: {n: 16}}
load: {concurrency: [2]}
measure: {warmup_s: 0.2, duration_s: 2}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, send_lag_ms: 10000, idle_users: 1, drift: 1000}
"""
"""Two points of a model that does next to nothing: 2 s each. Its two users wait for the queue's delay, so
that the cores are left to the tests beside. They are valid on a busy machine too: no limit is left that other
work could trip, answers are counted and not timed, and of 100 requests or more the median is always
supported."""

AS_TINY = ("--max-batch", "8", "--queue-delay-us", "5000")
"""Options of a server on which nothing has to be loaded anew for `ONE`."""

ONE = TINY.replace("[4, 8]", "8").replace(
    "duration_s: 2", "duration_s: 0.5, at_most_s: 10, precision: {p50: 0.5}"
)
"""A single point that is as short as can be: on a busy machine it goes on until it has a median."""

TWO = ONE.replace("max_batch: 8", "max_batch: [4, 8]")


@dataclass
class Finished:
    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.stdout)
        return parsed


def valid(done: Finished) -> dict[str, Any]:
    """The document of a run that ended well: every point is valid, and no objective was missed."""
    assert done.code == 0, f"{done.code}: {done.stderr}{done.stdout[:20_000]}"
    assert done.document["points"] and {point["verdict"] for point in done.document["points"]} == {"valid"}
    return done.document


@dataclass
class Workplace:
    """A folder as a user's: scenarios/, model_repo/ and results/ come to be in it."""

    path: Path
    env: dict[str, str] = field(default_factory=dict)

    def scenario(self, text: str = TINY, name: str = "scenario.yaml") -> Path:
        file = self.path / name
        file.write_text(text)
        return file

    program: list[str] = field(default_factory=lambda: HARNESS)

    def run(self, *arguments: str | Path, timeout_s: float = 240) -> Finished:
        done = subprocess.run(
            [*self.program, *map(str, arguments)],
            cwd=self.path,
            env=os.environ | self.env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.program, *map(str, arguments)],
            cwd=self.path,
            env=os.environ | self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_sigint,
        )

    def lock_for_itself(self) -> None:
        """Nights of a user exclude each other; those of this place exclude no other test's. What was
        provisioned is everybody's."""
        cache = self.path / "cache"
        cache.mkdir()
        for kind in ("wheels", "triton", "models"):
            (cache_dir() / kind).mkdir(parents=True, exist_ok=True)
            (cache / kind).symlink_to(cache_dir() / kind)
        self.env["HARNESS_CACHE"] = str(cache)

    @property
    def runs(self) -> list[Path]:
        return sorted((self.path / "results").glob("*/"))


def wait_for(what: Callable[[], Any], *, limit_s: float = 60, why: Callable[[], str] = str) -> Any:
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing after {limit_s:g} s {why()}")


def server_of(pid: int) -> psutil.Process | None:
    """The tritonserver that the harness with this process id started."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return None
    return next((c for c in children if c.name() == "tritonserver"), None)


@contextmanager
def running(workplace: Workplace, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A command of harness that is ended with the block."""
    with subprocess.Popen(
        [*HARNESS, *arguments],
        cwd=workplace.path,
        env=os.environ | workplace.env | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


@contextmanager
def served(workplace: Workplace, model: str, *options: str) -> Iterator[tuple[dict[str, str], int]]:
    """`harness serve` in a process of its own: its addresses, and the id of its Triton."""
    ports = ("--http-port", "0", "--grpc-port", "0")
    with running(workplace, "serve", model, *options, *ports, "--json") as process:
        assert process.stdout is not None
        at = json.loads(process.stdout.readline())
        server = server_of(process.pid)
        assert server is not None
        yield at, server.pid


def under_load(
    workplace: Workplace,
    process: subprocess.Popen[str],
    records: int = 50,
    *,
    after: Collection[Path] = (),
) -> Path:
    """The folder of the point whose measured phase is under way, once its spool has so many records of it.

    `after`: those of points that came before it.
    """

    def found() -> Path | None:
        if process.poll() is None:
            return next((folder for folder in _measuring(workplace, records) if folder not in after), None)
        out, err = process.communicate()
        raise AssertionError(f"harness ended with {process.returncode} and was never under load: {out}{err}")

    folder: Path = wait_for(found, limit_s=120)
    return folder


def _measuring(workplace: Workplace, records: int) -> list[Path]:
    spools = list(workplace.path.glob("results/*/points/*/load/requests-*.spool"))
    spools = [spool for spool in spools if ".unfinished-" not in str(spool)]  # of a run that went on since
    begun = [s for s in spools if np.count_nonzero(_phases(s) == Phase.MEASURE) > records]
    return [spool.parent.parent for spool in reversed(begun)]


def _phases(spool: Path) -> npt.NDArray[np.uint8]:
    raw = spool.read_bytes()
    phases: npt.NDArray[np.uint8] = np.frombuffer(raw, REQUEST, count=len(raw) // REQUEST.itemsize)["phase"]
    return phases


def ended(process: subprocess.Popen[str], limit_s: float = 120) -> Finished:
    out, err = process.communicate(timeout=limit_s)
    return Finished(process.returncode, out, err)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.triton.models import double

    return double(tmp_path_factory.mktemp("models")).path


@pytest.fixture
def workplace(tmp_path: Path, tiny_model: Path) -> Iterator[Workplace]:
    (tmp_path / "double.onnx").write_bytes(tiny_model.read_bytes())
    yield Workplace(tmp_path)
    for process in psutil.process_iter(["cwd", "pid"]):
        if process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(tmp_path):
            process.send_signal(signal.SIGKILL)
