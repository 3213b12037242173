"""Whether the server of a point still lives while the load goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from harness.schema.errors import ServerError
from harness.triton.continuity import Continuity
from harness.triton.server import Server

HEALTH_INTERVAL_S = 3.0


def liveness(server: Server, continuity: Continuity, stop: threading.Event) -> Callable[[], str | None]:
    """A question that may be asked some times a second: why the load must end, None while it needn't.

    A process that lives but hangs shows only when it is asked over its interface, which happens each
    `HEALTH_INTERVAL_S`.
    """
    asked = time.monotonic()

    def alive() -> str | None:
        nonlocal asked
        if stop.is_set():
            return "interrupted"
        if time.monotonic() - asked > HEALTH_INTERVAL_S and server.exit_reason() is None:
            reason = gone(server)
            if reason is None:
                with suppress(ServerError):  # gone this moment: the next question tells
                    continuity.look(settled=False)
            asked = time.monotonic()
            return reason
        return server.exit_reason()

    return alive


def gone(server: Server) -> str | None:
    """Why the server, or a replica of it, answers no more; None while all do. One that is about to end is
    waited for."""
    for each in server.replicas:
        if not each.healthy():
            return each.exit_reason() or f"the server at {each.way.words} stopped answering"
    return None
