"""How far the mean of a correlated series may be off: adaptive batch means.

Requests of one server are correlated in time: a full queue delays a whole run of them. Means of long
enough batches aren't, and their spread gives the variance of the whole mean (Law, Simulation Modeling and
Analysis, ch. 9). How long is long enough is found as in Skart (Tafazzoli and Wilson, IIE Transactions 43,
2011): batches grow until von Neumann's ratio finds no correlation between neighbours, and what correlation
is left is corrected for, as if it were that of a first-order autoregressive process. Other than in Skart,
batches also grow where neighbours differ more than chance lets them: stalls that come regularly, each in a
batch of its own, would else count as if they came at random.

Where the variance comes from a few bursts, the batch means are far from normal, and Student's t with one
degree of freedom a batch is too narrow. The degrees of freedom are then those of the variance estimate itself
(Satterthwaite, Biometrics Bulletin 2, 1946), by the kurtosis of the batch means: 5 bursts count for about 10.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CELLS = 960
"""A series is first summed over this many equal stretches; batches are made of whole ones."""

PART = 1 << 20
"""Booleans that are counted at once: adding them up takes 8 bytes for each."""

BATCHES = (64, 48, 32, 24, 16, 12, 8)
"""Numbers of batches to try, each a divisor of CELLS: as many as are uncorrelated, but 8 at least."""

UNCORRELATED = 1.28
"""Standard deviations that von Neumann's ratio may be off: 10% on each side."""

CLUSTERED = 1.5
"""A variance over this many times that of independent values comes from bursts or correlation."""

MOST_CORRELATION = 0.9
MOST_SKEW = 0.05
"""Willink's correction is an expansion, and breaks down past this."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Sums of a series over consecutive stretches, and how much of it each stretch holds."""

    sums: Array
    sizes: Array

    @classmethod
    def of(cls, values: Array | npt.NDArray[np.bool_]) -> Cells:
        """A series of one value a request. Booleans are counted, a part of the series at a time."""
        number = min(values.size, CELLS)
        edges = np.arange(number + 1) * values.size // max(number, 1)
        sizes = np.diff(edges).astype(np.float64)
        if number == 0:
            return cls(np.zeros(0), sizes)
        if values.dtype != np.bool_:
            return cls(np.add.reduceat(values, edges[:-1]), sizes)
        sums = np.empty(number)
        at_once = max(1, number * PART // values.size)
        for first in range(0, number, at_once):
            begin, end = edges[first], edges[min(first + at_once, number)]
            within = edges[first : first + at_once][: number - first] - begin
            sums[first : first + at_once] = np.add.reduceat(
                values[begin:end].view(np.uint8), within, dtype=np.float64
            )
        return cls(sums, sizes)

    def means(self, batches: int) -> Array:
        """Means of that many batches of whole cells."""
        edges = np.arange(batches) * self.sums.size // batches
        means: Array = np.add.reduceat(self.sums, edges) / np.add.reduceat(self.sizes, edges)
        return means


@dataclass(frozen=True, slots=True)
class Spread:
    """The standard error of a mean, and how well it is known."""

    error: float
    freedom: float
    """Degrees of freedom of `error`."""
    skew: float
    """The skew of the mean, Willink's a: the batch means' skewness over 6 times the root of their number."""

    @property
    def half_width(self) -> float:
        """Half of the symmetric 95% interval."""
        return student_95(self.freedom) * self.error

    @property
    def below_and_above(self) -> tuple[float, float]:
        """Ends of the 95% interval, as distances from the mean, right for a skewed mean.

        Willink, Communications in Statistics: Simulation and Computation 34, 2005.
        """
        t = student_95(self.freedom)
        return self.error * _unskewed(t, self.skew), -self.error * _unskewed(-t, self.skew)


def spread(cells: Cells, *, independent: float) -> Spread | None:
    """Spread of the mean of the series behind `cells`; None for a series too short to be cut into batches.

    `independent` is the variance that the mean would have if the values were independent.
    """
    tried = [k for k in BATCHES if k <= cells.sums.size]
    if not tried:
        return None
    for number in tried:
        means = cells.means(number)
        away = means - means.mean()
        squares = float(np.sum(away**2))
        if squares <= 1e-24 * number * float(means.mean()) ** 2:  # all the same, but for rounding
            return Spread(0.0, number - 1, 0.0)
        ratio = float(np.sum(np.diff(means) ** 2)) / squares
        if abs(2 - ratio) / math.sqrt(4 * (number - 2) / (number**2 - 1)) < UNCORRELATED:
            break
    # The estimate's bias is about -1/number.
    correlation = float(np.sum(away[1:] * away[:-1])) / squares + 1 / number
    correlation = min(max(correlation, 0.0), MOST_CORRELATION)
    variance = squares / (number - 1) / number * (1 + correlation) / (1 - correlation)
    freedom = number - 1.0
    if variance > CLUSTERED * independent:
        kurtosis = number * float(np.sum(away**4)) / squares**2
        freedom = min(freedom, 2 * number / max(kurtosis - 1, 1e-9)) * (1 - correlation) ** 2
    skewness = math.sqrt(number) * float(np.sum(away**3)) / squares**1.5
    skew = min(max(skewness / (6 * math.sqrt(number)), -MOST_SKEW), MOST_SKEW)
    return Spread(math.sqrt(variance), max(freedom, 2.0), skew)


@functools.lru_cache(maxsize=256)
def student(share: float, freedom: float) -> float:
    """Quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


def student_95(freedom: float) -> float:
    """Half width, in standard errors, of a 95% interval."""
    return student(0.975, round(freedom, 2))


def _unskewed(t: float, skew: float) -> float:
    if abs(skew) < 1e-4:
        return t
    return (math.cbrt(1 + 6 * skew * (t - skew)) - 1) / (2 * skew)
