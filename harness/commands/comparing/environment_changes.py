"""What of the environment isn't as it was: another driver, another power limit, another package."""

from __future__ import annotations

from harness.commands.comparing.dotted import differing, flat
from harness.schema.result import Environment

OF_A_MOMENT = {
    *("server_url", "server_command", "git_commit", "host", "pcie_generation", "unsupported", "uuid"),
    *("memory_bytes", "provider_options"),
}
"""What differs from one start to the next, or tells nothing of how fast things are."""


def changes(before: Environment | None, now: Environment | None) -> dict[str, tuple[str, str]]:
    """By name, what it was and is; nothing where either isn't known."""
    if before is None or now is None:
        return {}
    return differing(
        *(flat(each.model_dump(mode="json"), without=OF_A_MOMENT) for each in (before, now)),
    )
