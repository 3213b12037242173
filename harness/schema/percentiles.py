"""The percentiles that harness states. To add one, add its line to `Percentiles`: every figure, precision,
objective, table, chart and schema follows. Then run `make schema`, and name it in docs/scenarios.md and
docs/results.md.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from harness.schema.frozen import Frozen

Value = TypeVar("Value")


class Percentiles(Frozen, Generic[Value]):
    """Something for each percentile, ascending. The digits of a name are those of the share of requests at or
    under it: `p999` is 0.999, the 99.9th percentile."""

    p50: Value | None = None
    p90: Value | None = None
    p95: Value | None = None
    p99: Value | None = None
    p999: Value | None = None


PERCENTILES = tuple(Percentiles.model_fields)
"""Their names, ascending."""


def share(name: str) -> float:
    """The share of requests at or under a percentile: 0.999 for `p999`."""
    return float(f"0.{name[1:]}")


def name_of(share_of_requests: float) -> str:
    """The name of the percentile of that share: `p999` for 0.999."""
    return next(name for name in PERCENTILES if share(name) == share_of_requests)


def figure_title(name: str) -> str:
    """A figure's name as a reader writes it: "p99.9" for `p999`. One that is no percentile keeps its name."""
    return f"p{name[1:3]}.{name[3:]}" if name in PERCENTILES and len(name) > 3 else name


def limit_key(name: str) -> str:
    """The objective's key for a percentile, in milliseconds: `p999_ms`."""
    return f"{name}_ms"


def limited_name(objective: Frozen) -> str:
    """The highest percentile that an objective limits, else the p99."""
    named = [name for name in PERCENTILES if getattr(objective, limit_key(name)) is not None]
    return named[-1] if named else "p99"
