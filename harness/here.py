"""Which addresses are this machine's."""

from __future__ import annotations

import socket
from contextlib import suppress


def is_here(address: str) -> bool:
    """Whether a host name or address is this machine's: only such can be bound to."""
    with suppress(OSError):
        for family, kind, protocol, _, found in socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM):
            with suppress(OSError), socket.socket(family, kind, protocol) as tried:
                tried.bind(found)
                return True
    return False
