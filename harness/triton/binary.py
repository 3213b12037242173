"""A `tritonserver` that is installed on this machine, as inside NVIDIA's container: `--server binary`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.interpreter import SAFE_PATH
from harness.schema.errors import HarnessError
from harness.triton.own import CUDA_ORDER, OwnServer
from harness.triton.process import Local
from harness.triton.server_folder import ServerFolder

PROGRAM = "tritonserver"


class BinaryServer(OwnServer):
    """An `OwnServer` with the backends and caches of the `tritonserver` that is first on PATH.

    It gets this process's environment, of which an installation may depend on anything.
    """

    mode = "binary"
    start_limit_s = 180.0

    _program: str

    def prepare(self) -> None:
        found = shutil.which(PROGRAM)
        if found is None:
            raise HarnessError(
                f"there is no {PROGRAM} on PATH: put its folder there (in NVIDIA's container it is "
                "/opt/tritonserver/bin), or leave out --server for the embedded one"
            )
        self._program = str(Path(found).absolute())  # the server works in a folder of its own

    def command_line(self, folder: ServerFolder) -> list[str]:
        ports = (self.http_port, self.grpc_port, self.metrics_port)
        return [self._program, *self.arguments(str(folder.repository), self.host, ports)]

    def launch(self, folder: ServerFolder, hidden: Mapping[str, str]) -> Local:
        order, by_bus = CUDA_ORDER
        return Local(
            self.command_line(folder),
            {order: by_bus, **os.environ, **SAFE_PATH},
            self.log,
            f"see whether `{self._program} --help` works",
            folder=folder.work,
            hidden=hidden,
        )
