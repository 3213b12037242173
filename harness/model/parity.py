"""The proof of an export: the function of its source on several shapes, and rows that are independent."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from harness.model.runtime import Refused, Session
from harness.model.shapes import Sizes, proving_feeds, proving_shapes
from harness.model.signature import BATCH, Signature
from harness.schema.errors import InputError
from harness.schema.model import Parity, ParityCase
from harness.schema.tensors import NUMPY, Datatype, Tensors, TensorSpec

TOLERANCE = 1e-4
"""For FP32 and wider outputs: sums in another order differ by about 1e-6, a wrong function by far more."""
HALF_TOLERANCE = 1e-2
"""Where an output is FP16, whose unit roundoff is 5e-4, or the model was converted to FP16: rounding every
weight and value makes some 1e-3 of it (docs/models.md has figures). What overflows is infinite, and a mask or
a norm that is lost makes 1e-1 and more."""

TORCH = "torch"
FP32_FILE = "the FP32 file"
NO_REFERENCE = "none: the file is the source"

_DIFFERS = (
    "the export computes another function than its source: {}; remove what an export can't follow "
    "(randomness, Python values taken from a tensor or a shape, branches on them)"
)
_HALF_DIFFERS = (
    "it computes another function in FP16 than in FP32: {}; leave out `dtype: fp16`, or keep its values "
    "under 65504, FP16's largest"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """What computes the function as it should be."""

    words: str
    """For the record: TORCH or FP32_FILE."""
    run: Callable[[Tensors], Tensors]
    """May raise Refused."""


@dataclass(frozen=True, slots=True)
class Proof:
    parity: Parity
    outputs: tuple[TensorSpec, ...]
    """As observed: an axis that is always as large as an input's has its name."""


@dataclass(frozen=True, slots=True)
class Difference:
    absolute: float
    relative: float
    """The absolute error over the reference's largest absolute value, of the worst output."""

    def __str__(self) -> str:
        return f"{self.absolute:.3g} ({self.relative:.3g} of the largest value)"


def prove(
    session: Session,
    signature: Signature,
    reference: Reference | None,
    name: str,
    *,
    shapes: Sequence[Sizes] | None = None,
    half: bool = False,
    probabilities: Collection[str] = (),
) -> Proof:
    """Compare on every proving shape (or on `shapes`); raise unless the export is the same function.

    `half`: the export was converted to FP16, and its reference computes in FP32. Errors of the outputs in
    `probabilities` are taken over 1.

    Each row is also compared with the same row in other company (alone, or beside another), because Triton
    will batch it with strangers; without a reference, that is all that can be compared, and is recorded.

    Raises InputError, with the figures, when an error is over the tolerance, and when rows depend on
    each other, when an output has no batch axis, or when too few shapes run.
    """
    cases: list[ParityCase] = []
    seen: list[tuple[Sizes, Tensors]] = []
    failed: list[str] = []
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    for number, sizes in enumerate(shapes or proving_shapes(signature)):
        given = proving_feeds(signature, sizes, seed=number)
        try:
            got = session.run(given)
            _check_batch(name, got, sizes[BATCH])
            regrouped = _in_other_company(session, signature, given, sizes)
            wanted = reference.run(given) if reference else regrouped
        except Refused as error:
            failed.append(f"{_words(sizes)} ({error})")
            continue
        if any(value.dtype == np.float16 for value in got.values()):
            tolerance = HALF_TOLERANCE
        off = difference(got, wanted, probabilities)
        if reference and not off.relative <= tolerance:
            where = f"largest error {off} at {_words(sizes)}, tolerance {tolerance:g}"
            raise InputError(f"{name}: {(_HALF_DIFFERS if half else _DIFFERS).format(where)}")
        apart = difference(got, regrouped, probabilities)
        if not apart.relative <= tolerance:
            raise InputError(
                f"{name}: a row's result depends on the rows beside it (largest error {apart} at "
                f"{_words(sizes)}, tolerance {tolerance:g}), so Triton can't batch requests: remove what "
                "mixes rows (a norm or a sum over axis 0)"
            )
        seen.append((sizes, got))
        cases.append(
            ParityCase(
                axes=sizes,
                traced=reference is not None and reference.words == TORCH and number == 0,
                max_abs_error=off.absolute,
                max_rel_error=off.relative,
            )
        )
    _check_enough(name, cases, failed, every=reference is not None or bool(signature.axes))
    against = reference.words if reference else NO_REFERENCE
    return Proof(Parity(reference=against, tolerance=tolerance, cases=tuple(cases)), _output_specs(seen))


def difference(got: Tensors, wanted: Tensors, probabilities: Collection[str] = ()) -> Difference:
    """The worst output's errors; infinite where a shape differs or a value is not a number.

    For `probabilities` the absolute error counts: where nothing is found all of them are in a sigmoid's tail,
    and their largest value is no scale.
    """
    worst = Difference(0.0, 0.0)
    for name, right in wanted.items():
        left = got[name]
        if left.shape != right.shape:
            return Difference(float("inf"), float("inf"))
        if right.size == 0:
            continue
        exact = right.astype(np.float64)
        absolute = float(np.max(np.abs(left.astype(np.float64) - exact)))
        scale = 1.0 if name in probabilities else float(np.max(np.abs(exact)))
        if not np.isfinite(absolute):
            return Difference(float("inf"), float("inf"))
        relative = absolute / scale if scale > 0 else (0.0 if absolute == 0 else float("inf"))
        worst = Difference(max(worst.absolute, absolute), max(worst.relative, relative))
    return worst


def _in_other_company(session: Session, signature: Signature, given: Tensors, sizes: Sizes) -> Tensors:
    """The same rows, each run alone; or a single row, run beside another one."""
    if sizes[BATCH] == 1:
        stranger = proving_feeds(signature, sizes, seed=1000)
        pair = session.run({n: np.concatenate([v, stranger[n]]) for n, v in given.items()})
        return {n: v[:1] for n, v in pair.items()}
    rows = [session.run({n: v[i : i + 1] for n, v in given.items()}) for i in range(sizes[BATCH])]
    return {n: np.concatenate([row[n] for row in rows]) for n in rows[0]}


def _check_batch(name: str, got: Tensors, batch: int) -> None:
    for output, value in got.items():
        if not isinstance(value, np.ndarray) or value.ndim == 0 or value.shape[0] != batch:
            shape = list(value.shape) if isinstance(value, np.ndarray) else type(value).__name__
            raise InputError(
                f"{name}: output {output!r} is {shape} for a batch of {batch}, and Triton needs the batch as "
                "its first axis: return one row per request row, or leave the output out"
            )


def _check_enough(name: str, cases: Sequence[ParityCase], failed: Sequence[str], *, every: bool) -> None:
    """An ONNX file doesn't say which sizes are valid, so a shape of ours may fail; not all of a kind."""
    batched = any(case.axes[BATCH] > 1 for case in cases)
    if failed and (every or len(cases) < 2 or not batched):
        raise InputError(
            f"{name}: ONNX Runtime fails to run it at {failed[0]}: export it with a batch and axes that the "
            "whole graph follows"
        )


def _output_specs(seen: Sequence[tuple[Sizes, Tensors]]) -> tuple[TensorSpec, ...]:
    types: dict[np.dtype[np.generic], Datatype] = {np.dtype(v): k for k, v in NUMPY.items()}  # type: ignore[misc]
    specs = []
    for name, value in seen[0][1].items():
        axes: list[int | str] = [BATCH]
        for position in range(1, value.ndim):
            observed = [got[name].shape[position] for _, got in seen]
            like = [a for a in seen[0][0] if a != BATCH and observed == [sizes[a] for sizes, _ in seen]]
            fixed = len(set(observed)) == 1
            own = f"{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_') or 'output'}_axis{position}"
            axes.append(observed[0] if fixed else (like or [own])[0])
        specs.append(TensorSpec(name=name, datatype=types[value.dtype], axes=tuple(axes)))
    return tuple(specs)


def _words(sizes: Sizes) -> str:
    return ", ".join(f"{axis} {size}" for axis, size in sizes.items())
