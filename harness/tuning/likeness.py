"""What is not measured, by the likeness of what is: a Gaussian process.

C. E. Rasmussen and C. K. I. Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1, with a
Matérn 5/2 kernel that is a sum: of each coordinate by itself, and of all together. So what a setting does in
one place is expected of it in others, until they say otherwise. A coordinate that stands apart, as the size
of a batch does, changes nearly the same way everywhere.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

Floats = npt.NDArray[np.float64]

LENGTH = 1.0
"""Over how much of a coordinate's range a figure changes by itself."""

TOGETHER = 0.8
"""How much the settings do together that none does by itself, over what each does: two threads speed up one
instance, and slow down four of them on two cores."""


AS_WELL = 0.15
"""The same of what stands apart together with the others."""


def predict(
    at: Floats, features: Floats, values: Floats, errors: Floats, *, deviation: float, apart: int = 0
) -> tuple[Floats, Floats]:
    """Mean and standard deviation of a figure at `at`: [places, coordinates].

    `features`: [measured, coordinates], with their `values` and standard `errors`; at least one. `deviation`
    is by how much the figure changes over the range of a coordinate, about. `apart`: how many of the last
    coordinates stand apart.
    """
    middle = float(np.average(values, weights=1 / (errors**2 + deviation**2)))
    among = _kernel(features, features, deviation, apart) + np.diag(errors**2 + 1e-9)
    across = _kernel(at, features, deviation, apart)
    factor = cho_factor(among, lower=True)
    mean = middle + across @ cho_solve(factor, values - middle)
    explained = np.einsum("ij,ji->i", across, cho_solve(factor, across.T))
    before = _kernel(at[:1], at[:1], deviation, apart)[0, 0]
    return mean, np.sqrt(np.maximum(before - explained, 0.0))


def _kernel(one: Floats, other: Floats, deviation: float, apart: int) -> Floats:
    away = np.abs(one[:, None, :] - other[None, :, :]) / LENGTH
    alone = _matern(away).sum(axis=2)
    joint = away.shape[2] - apart
    together = _matern(np.sqrt((away[:, :, :joint] ** 2).sum(axis=2)))
    found: Floats = deviation**2 * (alone + TOGETHER**2 * together)
    if apart:
        found = found + deviation**2 * AS_WELL**2 * _matern(np.sqrt((away**2).sum(axis=2)))
    return found


def _matern(distance: Floats) -> Floats:
    r = math.sqrt(5) * distance
    found: Floats = (1 + r + r**2 / 3) * np.exp(-r)
    return found
