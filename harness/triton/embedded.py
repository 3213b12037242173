"""The embedded Triton: the server of a pinned wheel, with our `onnxruntime` backend."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from harness.interpreter import SAFE_PATH
from harness.triton import implementation, install
from harness.triton.install import Install
from harness.triton.own import CLIENT_MEMORY, CUDA_ORDER, OwnServer
from harness.triton.process import Local
from harness.triton.server_folder import ServerFolder

PASSED_ON = {"HOME", "USER", "TZ", "TMPDIR", "ORT_DISABLE_TELEMETRY"}
_PASSED_ON_PREFIXES = ("CUDA_", "NVIDIA_")


class EmbeddedServer(OwnServer):
    """An `OwnServer` that needs nothing but this Python environment; see there for the arguments."""

    mode = "embedded"
    computes_here = True
    lacks = frozenset({CLIENT_MEMORY})
    start_limit_s = 60.0
    backend = implementation.PYTHON

    _triton: Install

    def prepare(self) -> None:
        self._triton = install.provision()

    def command_line(self, folder: ServerFolder) -> list[str]:
        ports = (self.http_port, self.grpc_port, self.metrics_port)
        given = self.arguments(str(folder.repository), self.host, ports, caches=str(self._triton.caches))
        return [str(self._triton.server), *given, f"--backend-directory={self._triton.backends}"]

    def launch(self, folder: ServerFolder, hidden: Mapping[str, str]) -> Local:
        if self.theirs is not None:
            install.link_numpy(folder.work)
        return Local(
            self.command_line(folder),
            environment_of(self._triton),
            self.log,
            "set HARNESS_CACHE to a folder whose disk allows programs to run",
            folder=folder.work,
            hidden=hidden,
        )

    def of_platform(self, platform: str) -> str:
        """`onnxruntime` is ours here."""
        return implementation.PYTHON if platform.startswith("onnxruntime") else platform

    def served_by(self, model: str, since: int) -> tuple[str, str | None]:  # noqa: ARG002 - it is ours
        return implementation.PYTHON, install.onnxruntime_version()


def environment_of(triton: Install) -> dict[str, str]:
    """What the server and its stubs see. The stub takes the Python environment whose `bin` comes first."""
    env = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    libraries = [triton.library_path, os.environ.get("LD_LIBRARY_PATH", "")]
    env["LD_LIBRARY_PATH"] = os.pathsep.join(folder for folder in libraries if folder)
    env.setdefault(*CUDA_ORDER)
    return env | SAFE_PATH
