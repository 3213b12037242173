"""What a point sends: its payloads, made once for all points that send the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.model.payloads import payloads
from harness.schema.model import ModelArtifact
from harness.schema.point import Point, PointClass
from harness.schema.tensors import Tensors

VARIANTS = 32
"""Different payloads of a class, so that no cache on the way can make a request cheaper than a real one."""

VARIANTS_BYTES = 256_000_000
"""Most bytes of one class's payloads together; large images get fewer variants."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests to a model that is served."""

    model: str
    """Its name in Triton."""
    payloads: Mapping[str, Sequence[Tensors]]
    """The variants of each request class, by name."""
    outputs: Sequence[str]
    """What to ask for; none means all."""


def workload(point: Point, model: ModelArtifact, base_dir: Path) -> Workload:
    """What `point` sends to `model`. Files that it names are relative to `base_dir`. Raises InputError."""
    return Workload(
        model.name,
        {kind.name: _variants(point, kind, model, base_dir) for kind in point.requests},
        [output.name for output in model.outputs],
    )


def _variants(point: Point, kind: PointClass, model: ModelArtifact, base_dir: Path) -> tuple[Tensors, ...]:
    def made(count: int) -> tuple[Tensors, ...]:
        each = payloads(point.model, kind, base_dir=base_dir, count=count, seed=point.seed)
        return tuple(_as_sent(tensors, model) for tensors in each)

    one = sum(tensor.nbytes for tensor in made(1)[0].values())
    return made(max(1, min(VARIANTS, VARIANTS_BYTES // max(one, 1))))


def _as_sent(tensors: Tensors, model: ModelArtifact) -> Tensors:
    """Where Triton makes batches every tensor has an axis after the batch: one of size 1 if the model has
    none, which config.pbtxt has Triton take away again."""
    if not model.batching:
        return tensors
    return {name: value[:, None] if value.ndim == 1 else value for name, value in tensors.items()}
