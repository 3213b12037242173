"""Which configuration is the default one, and which of several is the simplest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from harness.schema.point import Setting
from harness.schema.scenario import DEFAULTS

Configuration = Mapping[str, Setting | None]

DEFAULT_SETTINGS: dict[str, Collection[Any]] = {
    "dtype": (None,),
    "protocol": ("http",),
    "shared_memory": ("none",),
    "server.kind": ("auto",),
    "server.provider": (None, "cuda"),
    "server.cuda_graph": (None, False),
    "server.preferred_batch": (None, 0),
} | {f"server.{key}": (None, value) for key, value in DEFAULTS.items()}
"""What stands for the default, by dotted path. A data size that may be chosen has none."""

COSTS = ("server.instances", "server.threads", "server.max_batch", "server.queue_delay_us")
"""Of two configurations with as many departures, the one with less of the first of these is simpler."""


def varied(configurations: Sequence[Configuration]) -> tuple[str, ...]:
    """The settings that aren't the same in all of them."""
    paths = dict.fromkeys(path for each in configurations for path in each)
    return tuple(p for p in paths if len({each.get(p) for each in configurations}) > 1)


def is_default(configuration: Configuration, varied: Collection[str]) -> bool:
    """Whether each of the varied settings is at its default. What a scenario says once isn't chosen in it."""
    return all(configuration.get(path) in DEFAULT_SETTINGS.get(path, ()) for path in varied)


def complexity(configuration: Configuration, varied: Collection[str]) -> tuple[float, ...]:
    """To order by, the simplest first: by departures from the defaults, then by what is cheaper to run."""
    departures = sum(configuration.get(path) not in DEFAULT_SETTINGS.get(path, ()) for path in varied)
    return (departures, *(float(configuration.get(path) or 0) for path in COSTS))
