"""What harness says over Locust's channel, between its master and its workers.

A worker says `hello`; it gets the `file`s of the plan where it is on another machine, and is told to `go` as
number so and so. From then on it talks with the driver as a load process that is alone does, with the master
in between (`harness.load.driver` lists the words), and sends home what it records.
"""

from __future__ import annotations

import sys
from importlib import metadata

TYPE = "harness"
"""Of all these messages, among Locust's own."""

CHUNK = 1 << 18
"""Bytes of a file in one message."""
UNDERWAY = 1 << 22
"""Bytes of a file that may be under way: Locust's channel itself drops what its peer doesn't take."""


def versions() -> dict[str, str]:
    """What must be the same at both ends."""
    try:
        harness = metadata.version("harness")
    except metadata.PackageNotFoundError:  # run from its source without having been installed
        harness = "unknown"
    return {"harness": harness, "Python": f"{sys.version_info.major}.{sys.version_info.minor}"}


def differing(here: dict[str, str], there: dict[str, str]) -> str | None:
    """What isn't the same, in words for the one that is there."""
    for name, version in here.items():
        if there.get(name) != version:
            return (
                f"{name} {there.get(name, 'of an unknown version')} is here, and {version} where the run is"
            )
    return None
