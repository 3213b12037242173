"""What a scenario says of comparing: which change matters, and how long may be looked for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.schema.frozen import Frozen

Metric = Literal["throughput", "p50", "p99", "error_rate", "gpu_memory", "energy", "parity"]
"""What is compared of a point. Throughput only where the load doesn't give it; GPU memory and energy only of
arms that don't share a GPU; parity is how far an export is from its source."""

Share = Annotated[float, Field(gt=0, lt=1)]


class Margins(Frozen):
    """The change that matters, of each metric: a smaller one is no regression. Shares of the baseline's
    value; of the error rate, in requests of all requests; of parity, in the largest relative error of an
    output."""

    throughput: Share = 0.03
    p50: Share = 0.03
    p99: Share = 0.15
    error_rate: Share = 0.005
    gpu_memory: Share = 0.02
    energy: Share = 0.03
    parity: Share = 0.0005


class Regression(Frozen):
    """`regression:` of a scenario: how `harness ab` and `harness nightly` compare."""

    margins: Margins = Margins()
    false_alarms: Annotated[float, Field(gt=0, le=0.2)] = 0.01
    """The probability of any alarm, over all points and metrics of one comparison, where nothing changed."""
    minutes_per_point: Annotated[float, Field(gt=0, le=1440)] = 5.0
    """How long each point may be measured, until its questions are settled."""
    round_s: Annotated[float, Field(ge=1, le=3600)] = 12.0
    """How long each point is measured on servers that are then started anew."""
    wait_minutes: Annotated[float, Field(ge=0, le=1440)] = 10.0
    """How long `harness nightly` waits for a quiet machine before it gives up."""
    reference: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """A scenario file in this one's folder, for `harness nightly` where the baseline's build can't be run
    again: every night's build is measured beside that one's, as it was the first time."""
    block_s: Annotated[float, Field(gt=0, le=600)] = 1.0
    """How long a turn of an arm is, but for a lone user, who takes turns request by request."""
