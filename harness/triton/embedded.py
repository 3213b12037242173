"""The embedded Triton: a server process of our own, on loopback unless told otherwise, gone when we are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.cache import lock
from harness.schema.errors import ServerError
from harness.schema.model import ModelArtifact
from harness.schema.point import ServerSettings
from harness.triton import install, process, shared_memory, statistics
from harness.triton.control import BUSY, Control
from harness.triton.install import Install
from harness.triton.repository import write_model
from harness.triton.statistics import Statistics

START_LIMIT_S = 60.0
START_ATTEMPTS = 3
STOP_LIMIT_S = 15.0
PROBES = 3
PROBE_LIMIT_S = 2.0

_PASSED_ON = {"HOME", "USER", "TZ", "TMPDIR"}
_PASSED_ON_PREFIXES = ("CUDA_", "NVIDIA_")


class EmbeddedServer:
    """A `Server` (harness.triton.server) in a process of its own, from `with` to the end of its block.

    `repository`: folder of model entries; `serve` writes its own there. `log`: file that the server's output
    is appended to. `gpu`: whether a CUDA device is usable. `auto_complete`: fill in what an entry leaves out;
    `serve` leaves nothing out, and it costs a second of each load. A port of 0 means any free one; `host` is
    an IPv4 address to listen on. The server is killed with the thread that entered the block.

    Raises HarnessError where the embedded Triton can't run, ServerError when it doesn't start.
    """

    backend = "onnxruntime on Triton's Python backend"

    def __init__(
        self,
        repository: Path,
        log: Path,
        *,
        gpu: bool = False,
        response_cache: bool = False,
        auto_complete: bool = False,
        http_port: int = 0,
        grpc_port: int = 0,
        metrics_port: int = 0,
        host: str = process.HOST,
    ) -> None:
        self.host = host
        self.repository = repository.absolute()
        self.log = log
        self.gpu = gpu
        self.response_cache = response_cache
        self.auto_complete = auto_complete
        self.http_port = 0
        self.grpc_port = 0
        self.metrics_port = 0
        self.version = ""
        self.execution_provider: str | None = None
        self._asked_ports = (http_port, grpc_port, metrics_port)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: process.Guard | None = None
        self._prefix = ""
        self._log_start = 0
        self._failure: str | None = None
        self._served: tuple[ModelArtifact, ServerSettings] | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def control(self) -> Control:
        return Control(self.host, self.http_port)

    def serve(self, artifact: ModelArtifact, settings: ServerSettings) -> str:
        if settings.response_cache and not self.response_cache:
            raise ServerError(
                "this server was started without a response cache: start it with response_cache"
            )
        self.execution_provider = self._served = None
        control = self.control
        # A reload in place would keep the statistics, and an override made by load; unloading drops both.
        for loaded in {m["name"] for m in control.repository_index() if m.get("state") in BUSY}:
            control.unload(loaded)
        # Two harnesses may share a repository: neither may load what the other has just written.
        with lock(f"repository-{sha256(str(self.repository).encode()).hexdigest()[:16]}"):
            name = write_model(self.repository, artifact, settings, gpu=self.gpu)
            self._load(control, name)
        kind = control.model_config(name)["instance_group"][0]["kind"]
        self.execution_provider = "CUDAExecutionProvider" if kind == "KIND_GPU" else "CPUExecutionProvider"
        self._served = (artifact, settings)
        return name

    def _load(self, control: Control, name: str) -> None:
        try:
            control.load(name)
        except ServerError as error:
            if self.exit_reason() is not None:
                raise ServerError(f"Triton went away while it loaded {name}: {self.exit_reason()}") from error
            raise ServerError(
                f"Triton refused {name}: {error}; see {self.repository / name / 'config.pbtxt'}"
            ) from error

    def statistics(self, model: str, *, settled: bool = True) -> Statistics:
        return statistics.read(self.control, model, settled=settled)

    def exit_reason(self) -> str | None:
        if self._failure is None and self._process is not None and self._process.poll() is not None:
            self._failure = f"Triton {process.exit_words(self._process.returncode)}"
            if self._process.returncode >= 0 and (said := process.last_words(self.log, self._log_start)):
                self._failure += f": {said}"
        return self._failure

    def healthy(self) -> bool:
        if self._process is None or self.exit_reason() is not None:
            return False
        if any(self.control.live(PROBE_LIMIT_S) or self.exit_reason() for _ in range(PROBES)):
            return self.exit_reason() is None
        self._failure = (
            f"Triton's process was alive but did not answer {PROBES} health probes of {PROBE_LIMIT_S:g} s, "
            "so it was killed"
        )
        process.end(self._process, grace_s=0)
        return False

    def restart(self) -> None:
        served = self._served
        self._stop()
        self._start()
        if served is not None:
            self.serve(*served)

    def process_ids(self) -> list[int]:
        return [] if self._process is None else process.family(self._process)

    def _start(self) -> None:
        triton = install.provision()
        problem = install.path_problem(self.repository, "the model repository", "work in a folder without it")
        if problem is not None:
            raise ServerError(problem)
        self.repository.mkdir(parents=True, exist_ok=True)
        shared_memory.sweep_dead()
        for attempts_left in reversed(range(START_ATTEMPTS)):
            try:
                self._launch(triton)
                return
            except ServerError as error:  # somebody may take a port between our choice and Triton's use of it
                if "already in use" not in str(error) or not attempts_left:
                    raise

    def _launch(self, triton: Install) -> None:
        http, grpc, metrics = self._asked_ports
        self.http_port = process.choose_port(http, self.http_port, "http", self.host)
        self.grpc_port = process.choose_port(grpc, self.grpc_port, "grpc", self.host)
        self.metrics_port = process.choose_port(metrics, self.metrics_port, "metrics", self.host)
        self._prefix = shared_memory.region_prefix()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._failure = None
        self._process = process.start(self._command(triton), _environment(triton), self.log)
        self._guard = process.Guard(self._process.pid)
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise

    def _wait_until_ready(self) -> None:
        give_up = time.monotonic() + START_LIMIT_S
        while not self.control.ready(PROBE_LIMIT_S):
            if reason := self.exit_reason():
                raise ServerError(f"{reason}, instead of starting; its log is {self.log}")
            if time.monotonic() > give_up:
                raise ServerError(f"Triton was not ready after {START_LIMIT_S:g} s: see its log {self.log}")
            time.sleep(0.02)
        self.version = self.control.server_metadata()["version"]

    def _stop(self) -> None:
        if self._process is None:
            return
        process.end(self._process, grace_s=0 if self._failure else STOP_LIMIT_S)
        if self._guard is not None:
            self._guard.dismiss()
        self._process = self._guard = None
        self.execution_provider = None
        shared_memory.sweep(self._prefix)

    def _command(self, triton: Install) -> list[str]:
        command = [
            str(triton.server),
            f"--model-repository={self.repository}",
            "--model-control-mode=explicit",
            f"--backend-directory={triton.backends}",
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
            f"--http-address={self.host}",
            f"--http-port={self.http_port}",
            f"--grpc-address={self.host}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-address={self.host}",
            f"--metrics-port={self.metrics_port}",
            f"--allow-gpu-metrics={'true' if self.gpu else 'false'}",
            "--exit-timeout-secs=5",
        ]
        if not self.auto_complete:
            command.append("--disable-auto-complete-config")
        if self.response_cache:
            command += [f"--cache-directory={triton.caches}", "--cache-config=local,size=67108864"]
        return command


def _environment(triton: Install) -> dict[str, str]:
    """What the server and its stubs see. The stub takes the Python environment whose `bin` comes first."""
    env = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    libraries = [triton.library_path, os.environ.get("LD_LIBRARY_PATH", "")]
    env["LD_LIBRARY_PATH"] = os.pathsep.join(folder for folder in libraries if folder)
    return env
