"""Who may use the interfaces of a server of ours that load code, map memory and write files.

Nobody does but harness: its server takes their requests only with a secret that is new at each start.
Triton's words are in its docs/customization_guide/inference_protocols.md, "Limit Endpoint Access".
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

CLOSED = "model-repository,shared-memory,trace,logging"
HEADER = "harness-access"
OPTIONS = ("--http-restricted-api", "--grpc-restricted-protocol")
"""Triton before 23.12 doesn't know them, and doesn't start where they are given."""

_UNSHOWN = "…"


class Access:
    """The secret of one life of a server."""

    def __init__(self) -> None:
        self._secret = secrets.token_hex(16)

    @property
    def headers(self) -> Mapping[str, str]:
        """For requests that may use the closed interfaces."""
        return {HEADER: self._secret}

    @property
    def arguments(self) -> list[str]:
        """For a command line that anybody may see."""
        return [_argument(option, _UNSHOWN) for option in OPTIONS]

    @property
    def hidden(self) -> Mapping[str, str]:
        """What the server must get in place of each of `arguments`."""
        return {_argument(option, _UNSHOWN): _argument(option, self._secret) for option in OPTIONS}


def _argument(option: str, secret: str) -> str:
    return f"{option}={CLOSED}:{HEADER}={secret}"
