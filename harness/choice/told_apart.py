"""Which of several configurations can be told from another, all comparisons together.

By Tukey's and Kramer's method (J. W. Tukey, "The problem of multiple comparisons", 1953; C. Y. Kramer,
1956): of configurations that are all equal, some two are told apart in at most 5 of 100 runs, however many
there are. The best of many is best by chance too, and comparing it with each by itself would find differences
that aren't there. What changes between two points of a run, as a neighbour on the machine does, is in no
interval and so in no comparison.
"""

from __future__ import annotations

import math
from functools import cache

from harness.analysis.quantile import Z_95
from harness.choice.scores import Score
from harness.schema.answer import Ratio


def ratio(one: Score, other: Score, of: int) -> Ratio:
    """How many times the other one is, of so many that are compared."""
    log, half = one.log - other.log, _half_width(one, other, of)
    interval = (math.exp(log - half), math.exp(log + half)) if math.isfinite(half) else None
    return Ratio(value=math.exp(log), interval_95=interval)


def is_more(one: Score, other: Score, of: int) -> bool:
    """Whether the one can be told to be more than the other, of so many that are compared."""
    return one.log - other.log > _half_width(one, other, of)


def _half_width(one: Score, other: Score, of: int) -> float:
    return _factor(max(of, 2)) * math.hypot(one.error, other.error)


@cache
def _factor(of: int) -> float:
    """Standard errors of a difference: 1.96 of two, more of more."""
    if of == 2:
        return Z_95
    from scipy.stats import studentized_range  # a second's import, for those who compare several

    return float(studentized_range.ppf(0.95, of, math.inf)) / math.sqrt(2)
