"""What a point sends: its payloads, made once for all points that send the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.model import served_payloads
from harness.model.payloads import payloads
from harness.model.served_payloads import Payload
from harness.schema.model import Model, ModelArtifact
from harness.schema.point import Point, PointClass
from harness.schema.served_model import ServedModel
from harness.schema.tensors import Tensors

VARIANTS = 32
"""Different payloads of a class, so that no cache on the way can make a request cheaper than a real one."""

MOST_OF_DATA = 4096
"""Of the payloads that a user has, so many are sent."""

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
    version: int | None = None
    """The model's; None for the server's choice."""
    served: ServedModel | None = None
    """What is known of it, where it isn't an export of ours."""
    streams: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    """Of classes whose sequences send streams of data: the first variant of each, and its steps."""
    others: Mapping[str, tuple[str, int | None, Sequence[str]]] = field(default_factory=dict)
    """Model, version and outputs of classes that ask another model, or for some of its outputs only."""
    answers: Mapping[tuple[int, int], Tensors] = field(default_factory=dict)
    """What must be answered to a variant of a class, by their numbers, where that is known."""


def workload(point: Point, model: Model, base_dir: Path) -> Workload:
    """What `point` sends to `model`. Files that it names are relative to `base_dir`. Raises InputError."""
    if isinstance(model, ServedModel):
        return _of_served(point, model, base_dir)
    return Workload(
        model.name,
        {kind.name: _variants(point, kind, model, base_dir) for kind in point.requests},
        [output.name for output in model.outputs],
    )


def _of_served(point: Point, model: ServedModel, base_dir: Path) -> Workload:
    asked = {kind.name: model.asked_by(kind.model) for kind in point.requests}
    wanted = {
        kind.name: tuple(dict.fromkeys(kind.outputs or (each.name for each in asked[kind.name].outputs)))
        for kind in point.requests
    }
    made = {kind.name: _payloads(point, kind, asked[kind.name], base_dir) for kind in point.requests}
    return Workload(
        model.name,
        {name: [payload.inputs for payload in variants] for name, variants in made.items()},
        [output.name for output in model.outputs],
        model.version,
        model,
        {kind.name: served_payloads.streams_of(asked[kind.name], kind, base_dir) for kind in point.requests},
        {
            kind.name: (asked[kind.name].name, asked[kind.name].version, wanted[kind.name])
            for kind in point.requests
            if asked[kind.name] is not model or kind.outputs
        },
        {
            (number, variant): known
            for number, (name, variants) in enumerate(made.items())
            for variant, payload in enumerate(variants)
            if (known := {each: payload.answers[each] for each in wanted[name] if each in payload.answers})
        },
    )


def _payloads(point: Point, kind: PointClass, model: ServedModel, base_dir: Path) -> tuple[Payload, ...]:
    def made(count: int) -> tuple[Payload, ...]:
        return served_payloads.payloads(model, kind, base_dir=base_dir, count=count, seed=point.seed)

    most = VARIANTS if kind.data is None else MOST_OF_DATA
    return made(_fitting(most, made(1)[0].inputs))


def _fitting(most: int, one: Tensors) -> int:
    """How many payloads of such a size are made."""
    size = sum(_bytes(tensor) for tensor in one.values())
    return max(1, min(most, VARIANTS_BYTES // max(size, 1)))


def _bytes(tensor: npt.NDArray[np.generic]) -> int:
    if tensor.dtype.kind != "O":
        return tensor.nbytes
    strings: Any = tensor.ravel()
    return sum(len(each) + 4 for each in strings)


def _variants(point: Point, kind: PointClass, model: ModelArtifact, base_dir: Path) -> tuple[Tensors, ...]:
    def made(count: int) -> tuple[Tensors, ...]:
        each = payloads(str(point.model), kind, base_dir=base_dir, count=count, seed=point.seed)
        return tuple(_as_sent(tensors, model) for tensors in each)

    return made(_fitting(VARIANTS, made(1)[0]))


def _as_sent(tensors: Tensors, model: ModelArtifact) -> Tensors:
    """Where Triton makes batches every tensor has an axis after the batch: one of size 1 if the model has
    none, which config.pbtxt has Triton take away again."""
    if not model.batching:
        return tensors
    return {name: value[:, None] if value.ndim == 1 else value for name, value in tensors.items()}
