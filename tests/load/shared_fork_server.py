"""One fork server for the drives of a whole test process, as a run has one for all its points."""

from __future__ import annotations

import atexit
from functools import cache

from harness.load.coordinator.fork_server import ForkServer


@cache
def shared_fork_server() -> ForkServer:
    """It imports Locust once, where a drive without one spends a second on it.

    Its load processes have the environment of the first call: a test that changes that takes one of its own.
    """
    server = ForkServer()
    atexit.register(server.close)
    return server
