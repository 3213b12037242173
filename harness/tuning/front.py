"""The configurations that no other one is better than in everything."""

from __future__ import annotations

import math
from collections.abc import Iterable

from harness.schema.tune_result import Candidate


def on_front(candidates: Iterable[Candidate]) -> set[int]:
    """Numbers of the Pareto front: of capacity, median latency, memory and energy, as far as each is known of
    both of two. A configuration that holds the objective at no rate is on none."""
    known = {c.number: _costs(c) for c in candidates if _holds(c) and c.standing != "barred"}
    return {
        number
        for number, costs in known.items()
        if not any(_dominates(other, costs) for n, other in known.items() if n != number)
    }


def _holds(candidate: Candidate) -> bool:
    return bool(candidate.capacity_per_s.value or (candidate.cost and candidate.cost.value))


def _costs(candidate: Candidate) -> tuple[float | None, ...]:
    value = candidate.capacity_per_s.value
    return (
        None if not value else -math.log(value),
        candidate.p50_s,
        candidate.memory_bytes,
        candidate.energy_j_per_inference,
    )


def _dominates(one: tuple[float | None, ...], other: tuple[float | None, ...]) -> bool:
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
