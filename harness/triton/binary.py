"""A `tritonserver` that is installed on this machine, as inside NVIDIA's container: `--server binary`."""

from __future__ import annotations

import os
import shutil

from harness.schema.errors import HarnessError
from harness.triton.own import CUDA_ORDER, OwnServer
from harness.triton.process import Local

PROGRAM = "tritonserver"


class BinaryServer(OwnServer):
    """An `OwnServer` with the backends and caches of the `tritonserver` that is first on PATH.

    It gets this process's environment as it is: an installation may depend on any of it.
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
        self._program = found

    def command_line(self) -> list[str]:
        ports = (self.http_port, self.grpc_port, self.metrics_port)
        return [self._program, *self.arguments(str(self.repository), self.host, ports)]

    def launch(self) -> Local:
        order, by_bus = CUDA_ORDER
        env = {order: by_bus, **os.environ}
        return Local(self.command_line(), env, self.log, f"see whether `{self._program} --help` works")
