"""What a scenario says of the demand that it shall serve, and of what must hold of the replicas."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from harness.schema.frozen import Frozen
from harness.schema.quantities import FileName

DemandPerS = Annotated[float, Field(gt=0, le=1e9)]
AnyDemandPerS = Annotated[float, Field(ge=0, le=1e9)]

Balancer = Literal["random", "round_robin", "least_loaded", "power_of_two"]


class Plan(Frozen):
    """`plan:` of a scenario: `harness plan` says how many replicas hold its objective."""

    rate_per_s: DemandPerS | None = None
    """Requests a second at the busiest time, today."""
    daily: Annotated[tuple[AnyDemandPerS, ...], Field(min_length=2, max_length=1440)] | None = None
    """In place of it, requests a second in equal parts of a day, from midnight: 24 are hours."""
    trace: FileName | None = None
    """In place of both, a file of arrivals as `load.replay` has it: its busiest minute is the demand, in the
    order in which its requests came."""
    growth_per_year: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Share by which the demand grows in a year: 0.4 is 40%."""
    years: Annotated[float, Field(ge=0, le=20)] = 0.0
    """For how long the replicas shall do, with that growth."""
    headroom: Annotated[float, Field(ge=0, le=0.95)] = 0.2
    """Share of what the replicas hold that stays free at the busiest time."""
    failures: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Replicas that may be lost, and the objective still holds (1: N+1); the headroom is used up then."""
    zones: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Zones over which the replicas are spread evenly, and any one of which may be lost in the same way."""
    start_up_s: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    """From the decision to start a replica until it serves."""
    balancer: Balancer = "round_robin"
    """How requests are shared among the replicas."""
    hardware: FileName | None = None
    """A YAML file with prices and power, relative to the scenario (docs/planning.md)."""

    @model_validator(mode="after")
    def _one_demand(self) -> Plan:
        given = [name for name in ("rate_per_s", "daily", "trace") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"`{given[0]}` and `{given[1]}` are two demands: keep one of them")
        if self.daily is not None and not any(self.daily):
            raise ValueError("`daily` has no demand at any time: give one rate above 0 at least")
        return self
