"""The ways in which harness starts a Triton, by the names that `--server` takes."""

from __future__ import annotations

from inspect import isabstract
from typing import Any

from harness.extensions import sound_extensions
from harness.triton.binary import BinaryServer
from harness.triton.docker import DockerServer
from harness.triton.embedded import EmbeddedServer
from harness.triton.own import OwnServer

OURS: tuple[type[OwnServer], ...] = (EmbeddedServer, BinaryServer, DockerServer)
DEFAULT = EmbeddedServer
REMOTE = "remote"
"""What the mode of a server is called that runs already: no server that is started may have this name."""


def server_modes() -> dict[str, type[OwnServer]]:
    """Ours, then those that other packages add as entry points `harness.server_modes`: an `OwnServer` each.

    Raises InputError for one that can't be a mode.
    """
    return {mode.mode: mode for mode in OURS} | sound_extensions("server_modes", _fault)


def _fault(name: str, added: Any) -> str | None:
    if name in (REMOTE, *(mode.mode for mode in OURS)):
        return "has a name that harness uses itself"
    if not (isinstance(added, type) and issubclass(added, OwnServer)) or isabstract(added):
        return "is no whole class of harness.triton.own.OwnServer"
    if getattr(added, "mode", None) != name:
        return "has another `mode`"
    return None
