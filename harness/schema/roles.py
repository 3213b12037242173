"""What of a measurement is given, what is chosen and what is found: workload, configuration and load.

Sizes of data, the mix of request classes and the client's batch are given: they are what users send, and the
smallest always wins. How the model is served is chosen. The load is found: it is raised until it is too much.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

Role = Literal["workload", "configuration", "load"]


def role_of(path: str, given: Collection[str] = (), chosen: Collection[str] = ()) -> Role:
    """Of the setting at a dotted path, such as "server.max_batch"; `given` and `chosen` are those that a user
    declared to be so."""
    if path in given:
        return "workload"
    if path in chosen:
        return "configuration"
    if path.startswith("requests."):
        return "workload"
    return "load" if path.startswith("load.") else "configuration"
