"""The ways in which harness starts a Triton, by the names that `--server` takes."""

from __future__ import annotations

from harness.extensions import extensions
from harness.triton.binary import BinaryServer
from harness.triton.docker import DockerServer
from harness.triton.embedded import EmbeddedServer
from harness.triton.own import OwnServer

OURS: tuple[type[OwnServer], ...] = (EmbeddedServer, BinaryServer, DockerServer)
DEFAULT = EmbeddedServer


def server_modes() -> dict[str, type[OwnServer]]:
    """Ours, and the `OwnServer`s that other packages add as entry points `harness.server_modes`."""
    ours = {mode.mode: mode for mode in OURS}
    return extensions("server_modes") | ours
