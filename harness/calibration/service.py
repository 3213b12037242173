"""How long the requests of a truth model are served."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Service:
    """How long the requests' services are: values in seconds and their weights, a request class each.

    A class each, because the samples say of which class a request was, so that the very sequence of services
    is known afterwards.
    """

    words: str
    seconds: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def mean_s(self) -> float:
        return float(np.average(self.seconds, weights=self.weights))

    @classmethod
    def constant(cls, seconds: float) -> Service:
        return cls(f"constant {seconds * 1e3:g} ms", (seconds,), (1.0,))

    @classmethod
    def exponential(cls, mean_s: float, values: int = 1000) -> Service:
        """Each value stands for an equal share of the distribution, as that share's mean."""
        share = np.arange(values + 1) / values
        left = 1 - share
        # The integral of the quantile function -ln(1 - p) over a share is the difference of this.
        integral = left * np.log(np.where(left > 0, left, 1.0)) + share
        return cls(
            f"exponential, mean {mean_s * 1e3:g} ms",
            tuple((np.diff(integral) * values * mean_s).tolist()),
            (1.0,) * values,
        )

    @classmethod
    def bimodal(cls, short_s: float, long_s: float, long_share: float) -> Service:
        words = f"{1 - long_share:.0%} {short_s * 1e3:g} ms, {long_share:.0%} {long_s * 1e3:g} ms"
        return cls(words, (short_s, long_s), (1 - long_share, long_share))
