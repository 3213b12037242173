"""What of the environment isn't as it was: another driver, another power limit, another package."""

from __future__ import annotations

from harness.commands.comparing.dotted import differing, flat
from harness.schema.result import Environment

OF_A_MOMENT = {
    *("server_url", "server_command", "git_commit", "host", "pcie_generation", "unsupported", "uuid"),
    *("memory_bytes", "provider_options"),
}
"""What differs from one start to the next, or tells nothing of how fast things are."""


OF_THE_MACHINE = {
    *("cpu", "cores", "gpus", "triton_version", "server_mode", "backend", "backend_version"),
    *("execution_provider", "server_image"),
}
"""What makes another machine of it, to a served model. The rest, as a reference has it too, is taken out by
that."""


def of_the_machine(before: Environment | None, now: Environment | None) -> dict[str, tuple[str, str]]:
    """The changes after which nights aren't compared with those before."""
    found = changes(before, now)
    return {name: both for name, both in found.items() if name.split(".")[0] in OF_THE_MACHINE}


def changes(before: Environment | None, now: Environment | None) -> dict[str, tuple[str, str]]:
    """By name, what it was and is; nothing where either isn't known."""
    if before is None or now is None:
        return {}
    return differing(
        *(flat(each.model_dump(mode="json"), without=OF_A_MOMENT) for each in (before, now)),
    )
