"""What a scenario says of the search for its best configuration: constraints, and a budget."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.schema.frozen import Frozen

Minutes = Annotated[float, Field(gt=0, le=10_080)]
Positive = Annotated[float, Field(gt=0, le=1e9)]


class Tune(Frozen):
    """`tune:` of a scenario: the configurations that its lists make are searched for the one that holds the
    objective at the largest request rate."""

    minutes: Minutes = 10.0
    """How long the search may take, from the first start of the server to the answer."""
    gpu_memory_mb: Positive | None = None
    """The most memory of a GPU, in 10^6 bytes, that the server may hold."""
    gpu_power_w: Positive | None = None
    """The most power that a GPU may draw on average under load."""
