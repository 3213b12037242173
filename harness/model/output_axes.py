"""What a model's outputs are, as its proof saw them and as its graph says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from harness.model.shapes import Sizes
from harness.model.signature import BATCH
from harness.schema.errors import InputError
from harness.schema.tensors import NUMPY, Datatype, Tensors, TensorSpec

Declared = Mapping[str, Sequence[int | str | None]]
"""By output: the size of each axis where the graph fixes it; anything else leaves it open."""

_TYPES: dict[np.dtype[np.generic], Datatype] = {np.dtype(v): k for k, v in NUMPY.items()}  # type: ignore[misc]


def check_values(name: str, got: Tensors) -> None:
    """Raise InputError for an output that is no tensor of numbers."""
    for output, value in got.items():
        if not isinstance(value, np.ndarray):
            raise InputError(
                f"{name}: output {output!r} is a {type(value).__name__} and no tensor, which Triton can't "
                "send: leave it out, or make a tensor of it"
            )
        if value.dtype not in _TYPES:
            kind = "text" if value.dtype == object else str(value.dtype)
            raise InputError(
                f"{name}: output {output!r} is {kind}, which harness can't read: leave it out, or make "
                f"numbers of it (one of {', '.join(sorted(NUMPY))})"
            )


def output_specs(
    name: str,
    seen: Sequence[tuple[Sizes, Tensors]],
    declared: Declared,
    *,
    batching: bool,
    described_in: str | None = None,
) -> tuple[TensorSpec, ...]:
    """An axis that was always as large as an input's has its name, and one of a size of its own has a name.

    It has a constant size only where the graph says so, too: one that rounds to 1 at every size that was
    tried, or that depends on the values, is constant by chance. Raises InputError for an output that Triton
    can't describe: with another number of axes at another size, or always empty.
    """
    specs = []
    for output, value in seen[0][1].items():
        where = f" (`outputs: {{leave_out: [{output}]}}` in {described_in})" if described_in else ""
        shapes = [got[output].shape for _, got in seen]
        other = next((shape for shape in shapes if len(shape) != value.ndim), None)
        if other is not None:
            raise InputError(
                f"{name}: output {output!r} is {list(value.shape)} at one size and {list(other)} at another, "
                "and Triton needs as many axes always: give the operator that removes them (Squeeze) its axes"
            )
        axes: list[int | str] = [BATCH] if batching else []
        for position in range(len(axes), value.ndim):
            sizes = {shape[position] for shape in shapes}
            if sizes == {0}:
                raise InputError(
                    f"{name}: output {output!r} is always empty ({list(value.shape)} at "
                    f"{', '.join(f'{a} {n}' for a, n in seen[0][0].items()) or 'its one size'}), and Triton "
                    f"has no axis of size 0: leave the output out{where}"
                )
            axes.append(_axis(output, position, [shape[position] for shape in shapes], seen, declared))
        specs.append(TensorSpec(name=output, datatype=_TYPES[value.dtype], axes=tuple(axes)))
    return tuple(specs)


def _axis(
    output: str,
    position: int,
    observed: list[int],
    seen: Sequence[tuple[Sizes, Tensors]],
    declared: Declared,
) -> int | str:
    said = declared.get(output, ())
    if len(set(observed)) == 1 and position < len(said) and said[position] == observed[0]:
        return observed[0]
    like = [axis for axis in seen[0][0] if observed == [sizes[axis] for sizes, _ in seen]]
    if like and len(set(observed)) > 1:
        return like[0]
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', output).strip('_') or 'output'}_axis{position}"
