"""Seeded values of an input, and the shapes on which an export is proven."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from harness.model.signature import BATCH, Input, Signature
from harness.schema.errors import InputError
from harness.schema.tensors import ANY_NUMPY, Tensors

Sizes = dict[str, int]

MOST_ASKED = 12
"""So many sizes of a scenario are tried before it is measured."""

# Targets by case, moved to the nearest valid size: the traced shape first, then batch 1, then others. An axis
# without known limits is not taken to its ends. Images get sizes that networks which halve them five times
# also accept. The third case is an odd multiple: a branch on evenness is frozen as the trace took it.
# Where too few of them run, axes without known limits are made so many times as large, rung by rung: a signal
# may have to be longer than its first window. Only signals are taken to the last rung, where a network that
# compares each place with each other has no room.
_BATCHES = (2, 1, 5, 1)
_KNOWN = (24, 1, 41, 512)
_UNKNOWN = (24, 8, 41, 64)
_IMAGE = (96, 64, 160, 224)
_ODD = 2
_LARGER = (1, 20, 400)
_LARGER_IMAGE = (1, 4, 4)
RUNGS = len(_LARGER)


def proving_shapes(signature: Signature, rung: int = 0) -> tuple[Sizes, ...]:
    """Sizes of the dynamic axes ("batch" included, where there is one) to compare on; the first is the one to
    trace with. `rung`: how much larger than usual, under RUNGS.

    In the traced shape no two axes have the same size where their limits allow it: torch would take them
    for one.
    """
    known = {axis.name for axis in signature.axes}
    if rung == RUNGS - 1 and not _all_signals(signature):
        return ()
    cases = []
    for case, batch in enumerate(_BATCHES):
        sizes = {BATCH: batch} if signature.sizes_batch else {}
        for place, name in enumerate(signature.dynamic):
            if name in ("height", "width"):
                target = (_IMAGE[case] + 64 * place) * (1 if name in known else _LARGER_IMAGE[rung])
            elif name in known:
                target = _KNOWN[case] + 4 * place
            else:
                target = _UNKNOWN[case] * _LARGER[rung] + 4 * place
            axis = signature.axis(name)
            if case == _ODD and name in known:
                target = (target // axis.multiple_of | 1) * axis.multiple_of
            sizes[name] = axis.nearest(target)
        cases.append(sizes)
    return tuple(dict(pairs) for pairs in dict.fromkeys(tuple(c.items()) for c in cases))


def asked_shapes(signature: Signature, classes: Iterable[Mapping[str, int]]) -> tuple[Sizes, ...]:
    """The sizes of request classes as a proof tries them, each once, and MOST_ASKED at most: those between
    are left out. Where Triton makes the batch, with two rows: what counts is whether they are independent.
    """
    axes = [*((BATCH,) if signature.sizes_batch else ()), *signature.dynamic]
    cases = ({a: 2 if a == BATCH and signature.batching else sizes[a] for a in axes} for sizes in classes)
    each = sorted(dict.fromkeys(tuple(sizes.items()) for sizes in cases), key=_values_of)
    if len(each) > MOST_ASKED:
        each = [each[round(k * (len(each) - 1) / (MOST_ASKED - 1))] for k in range(MOST_ASKED)]
    return tuple(dict(pairs) for pairs in each)


def _values_of(sizes: tuple[tuple[str, int], ...]) -> int:
    return math.prod(size for _, size in sizes)


def _all_signals(signature: Signature) -> bool:
    return all(i.datatype.startswith("FP") and len(i.axes) <= 3 for i in signature.inputs)


def proving_feeds(signature: Signature, sizes: Sizes, seed: int) -> Tensors:
    """Seeded inputs for one comparison. The mask of every other row ends early, so that it is proven too."""
    generator = np.random.default_rng(seed)
    made: Tensors = {}
    for tensor in signature.inputs:
        low, high = tensor.low, tensor.high
        if low is None and np.dtype(ANY_NUMPY[tensor.datatype]).kind in "iu":  # 0 and 1 are valid indices
            low, high = (1.0, 1.0) if tensor.divides else (0.0, 2.0)
        made[tensor.name] = values(tensor, tensor.shape(sizes), generator, low, high)
    mask = made.get("attention_mask")
    if mask is not None and mask.ndim == 2:
        mask[1::2, mask.shape[1] // 2 + 1 :] = 0
    return made


def values(
    tensor: Input,
    shape: tuple[int, ...],
    generator: np.random.Generator,
    low: float | None,
    high: float | None,
) -> npt.NDArray[np.generic]:
    """Values of the tensor's type: uniform in [low, high), or standard normal for floats without a range.
    Where `low` and `high` are equal, all are this value.

    Raises InputError for integers without a range, and for a range that holds no value of the type.
    """
    kind = np.dtype(ANY_NUMPY[tensor.datatype])
    if low is not None and low == high:
        return _constant(tensor, shape, low)
    if kind.kind == "b":
        return generator.integers(0, 2, shape).astype(kind)
    if kind.kind == "f" or tensor.datatype == "BF16":
        if low is None or high is None:
            return generator.standard_normal(shape).astype(kind)
        return (low + (high - low) * generator.random(shape)).astype(kind)
    if low is None or high is None:
        raise InputError(
            f"input {tensor.name!r} takes integers ({tensor.datatype}) and harness doesn't know which are "
            "valid: give the request class `low` and `high`"
        )
    limits = np.iinfo(kind)
    if not limits.min <= low < high <= int(limits.max) + 1 or math.ceil(low) >= math.ceil(high):
        raise InputError(
            f"input {tensor.name!r} is {tensor.datatype}, which has no value from {low:g} (inclusive) to "
            f"{high:g} (exclusive): give other `low` and `high`"
        )
    made = generator.integers(math.ceil(low), math.ceil(high), shape, dtype=kind.type)
    return _boxes(made) if tensor.name == "bbox" and shape[-1:] == (4,) else made


def _boxes(made: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Left, top, right and bottom, as LayoutLM has them: no box ends before it begins."""
    corners = np.sort(made.reshape(-1, 2, 2), axis=1)
    return corners.reshape(made.shape)


def _constant(tensor: Input, shape: tuple[int, ...], value: float) -> npt.NDArray[np.generic]:
    kind = np.dtype(ANY_NUMPY[tensor.datatype])
    limits = np.iinfo(kind) if kind.kind in "iu" else None
    if limits and not (value == int(value) and limits.min <= value <= limits.max):
        raise InputError(
            f"input {tensor.name!r} is {tensor.datatype}, which has no value {value:g}: "
            "give another `constant`"
        )
    return np.full(shape, value, kind)
