"""What a gate is: it looks at one point and gives a sentence for each reason not to use its figures.

An installed package adds a gate as an entry point of the group `harness.gates` (`harness.extensions`):

    @gate("a GPU was hotter than 80 °C", limit="gpu_temperature_c", default=80.0)
    def hot_gpu(evidence: Evidence) -> Iterator[str]:
        limit_c = hot_gpu.limit_of(evidence)
        for figures in evidence.facts.gpu or ():
            if figures.temperature_c_max is not None and figures.temperature_c_max > limit_c:
                yield f"GPU {figures.device} reached {figures.temperature_c_max:.0f} °C: cool it"

A scenario then sets the limit under `validity:`, and the sentence stands wherever harness's own do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.analysis.facts import Facts
from harness.schema.observed import Observed
from harness.schema.point import Point
from harness.schema.samples import GpuReading, HostReading, Measured
from harness.schema.scenario import Validity


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one point: what was asked for, what was observed, and what follows from it."""

    point: Point
    observed: Observed
    facts: Facts
    requests: Measured
    """The requests of the measured phase, in the order they were due."""
    host: Sequence[HostReading] = ()
    gpu: Sequence[GpuReading] = ()
    lost: Sequence[str] = ()
    """A sentence for each kind of reading that was made and can't be had any more."""


Refusal = Literal["invalid", "inconclusive"]
"""What a point is that doesn't pass. `invalid`: its figures don't describe the server under the load that was
asked for. `inconclusive`: they do, but they can't carry the answer."""

Reasons = Callable[[Evidence], Iterable[str]]
"""Sentences that a reader can act on; none where the point passes."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate. `limit` is its key under `validity:`, if it has one, and `default` the key's value where the
    scenario has none: a number that isn't negative, or a switch."""

    name: str
    refuses: str
    """What a point has done that doesn't pass, in words."""
    reasons: Reasons
    verdict: Refusal = "invalid"
    limit: str | None = None
    default: float | None = None
    without_requests: bool = False
    """Whether it judges points in which no request ended, too."""

    def limit_of(self, evidence: Evidence) -> float:
        """What the point's scenario sets, or the default. Raises TypeError for a gate without a limit."""
        if self.limit is None or self.default is None:
            raise TypeError(f"the gate {self.name} has no limit")
        found: float = getattr(evidence.point.validity, self.limit, self.default)
        return found


def gate(
    refuses: str,
    *,
    verdict: Refusal = "invalid",
    limit: str | None = None,
    default: float | None = None,
    without_requests: bool = False,
) -> Callable[[Reasons], Gate]:
    """Make a gate of a function, whose name it takes. One of the `Validity` keys brings its own default."""
    if default is None and limit is not None:
        default = Validity.model_fields[limit].default

    def made(reasons: Reasons) -> Gate:
        name = reasons.__name__.replace("_", "-")
        return Gate(name, refuses, reasons, verdict, limit, default, without_requests)

    return made
