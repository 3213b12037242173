"""What a scenario says of the search for its best configuration: constraints, and a budget."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from harness.schema.frozen import Frozen
from harness.schema.quantities import RatePerS

Goal = Literal["throughput", "latency", "energy", "gpu_memory"]
"""What is searched for: the largest rate under the objective, or the least of another figure at a given
rate. Latency is the percentile that the objective limits, the highest of several, else the p99."""

Minutes = Annotated[float, Field(gt=0, le=10_080)]
Positive = Annotated[float, Field(gt=0, le=1e9)]


class Tune(Frozen):
    """`tune:` of a scenario: the configurations that its lists make are searched for the best one that holds
    the objective."""

    goal: Goal = "throughput"
    rate_per_s: RatePerS | None = None
    """At which rate latency, energy or GPU memory shall be the least."""

    minutes: Minutes = 10.0
    """How long the search may take, from the first start of the server to the answer."""
    gpu_memory_mb: Positive | None = None
    """The most memory of a GPU, in 10^6 bytes, that the server may hold."""
    gpu_power_w: Positive | None = None
    """The most power that a GPU may draw on average under load."""

    @model_validator(mode="after")
    def _at_a_rate(self) -> Tune:
        if self.goal == "throughput" and self.rate_per_s is not None:
            raise ValueError("`rate_per_s` is for another `goal` than throughput, which finds the rate")
        if self.goal != "throughput" and self.rate_per_s is None:
            raise ValueError(f"`goal: {self.goal}` needs `rate_per_s`: at which rate shall it be the least?")
        return self
