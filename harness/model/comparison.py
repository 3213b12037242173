"""How far two sets of outputs are apart, and which of their values are no numbers to compare."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.schema.tensors import Tensors

MASK = -1e4
"""Values under it may be a mask's: networks hide a logit by adding -1e4, -65504, -1e9 or FP32's smallest."""
FAR_OUT = 1000
"""So many times as large as the rest is no result of the same kind."""


@dataclass(frozen=True, slots=True)
class Difference:
    absolute: float
    relative: float
    """The absolute error over the reference's largest absolute value, of the worst output."""

    def __str__(self) -> str:
        return f"{self.absolute:.3g} ({self.relative:.3g} of the largest value)"


INFINITE = Difference(float("inf"), float("inf"))


def difference(got: Tensors, wanted: Tensors, probabilities: Collection[str] = ()) -> Difference:
    """The worst output's errors; infinite where shapes differ, or one side has a number and the other none.

    NaN is NaN, and an infinity the same infinity: a network that masks has them in both. For `probabilities`
    the absolute error counts: where nothing is found all of them are in a sigmoid's tail, and their largest
    value is no scale. Nor is a mask's value one for the results beside it.
    """
    worst = Difference(0.0, 0.0)
    for name, right in wanted.items():
        left = got[name]
        if left.shape != right.shape:
            return INFINITE
        if left.dtype.kind == "O" or right.dtype.kind == "O":  # strings are the same or they aren't
            if not np.array_equal(left, right):
                return INFINITE
            continue
        found, exact = left.astype(np.float64), right.astype(np.float64)
        numbers = np.isfinite(exact)
        if not np.array_equal(found[~numbers], exact[~numbers], equal_nan=True):
            return INFINITE
        for part in _of_one_kind(exact, numbers):
            absolute = float(np.max(np.abs(found[part] - exact[part])))
            scale = 1.0 if name in probabilities else float(np.max(np.abs(exact[part])))
            if not np.isfinite(absolute):
                return INFINITE
            relative = absolute / scale if scale > 0 else (0.0 if absolute == 0 else float("inf"))
            worst = Difference(max(worst.absolute, absolute), max(worst.relative, relative))
    return worst


def not_numbers(seen: Sequence[Tensors]) -> tuple[str, ...]:
    """A sentence for each output that had NaN or infinities; `seen` has all outputs of each run."""
    return tuple(
        f"{share:.0%} of the values of output {name!r} are {word} in the proof"
        for name in seen[0]
        for word, share in _shares([outputs[name] for outputs in seen]).items()
        if share > 0
    )


def _of_one_kind(
    exact: npt.NDArray[np.float64], numbers: npt.NDArray[np.bool_]
) -> Iterator[npt.NDArray[np.bool_]]:
    """The places of the numbers, and those that a mask made apart."""
    if not numbers.any():
        return
    lowest = float(exact[numbers].min())
    masked = numbers & (exact <= lowest / 2)
    rest = numbers & ~masked
    if lowest <= MASK and rest.any() and float(np.abs(exact[rest]).max()) * FAR_OUT < -lowest:
        yield masked
        yield rest
    else:
        yield numbers


def _shares(values: Sequence[npt.NDArray[np.generic]]) -> Mapping[str, float]:
    every = [np.asarray(value, np.float64) for value in values]
    total = max(sum(value.size for value in every), 1)

    def share(found: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]]) -> float:
        return sum(int(found(value).sum()) for value in every) / total

    return {"NaN": share(np.isnan), "inf": share(np.isposinf), "-inf": share(np.isneginf)}
