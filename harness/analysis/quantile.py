"""What a sample of latencies says of a percentile: its value, its 95% interval, and at least a lower limit.

The interval comes from that of the share of requests at or below the percentile (Heidelberger and Lewis,
Operations Research 32, 1984): the mean of an indicator, whose spread `harness.analysis.batches` finds, turned
back into order statistics. It is never narrower than for independent requests.

A percentile is supported where its interval ends within the sample, and that of each lower one does, from the
median on. Slow requests that come in so few bursts that they leave the p90 open may well look alike at the
p99; that is chance, and a p99 beside an open p90 would be a contradiction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harness.analysis.batches import Cells, Spread, spread, student
from harness.schema import percentiles
from harness.schema.percentiles import PERCENTILES
from harness.schema.result import Interval

Seconds = npt.NDArray[np.float64]

Z_95 = 1.96

CENTRAL, FEWEST = 0.45, 100
"""A server that is a little faster and a little slower in turns, each for longer than the phase allows to
average, says nothing of the share of requests below its median. But that is in the middle 90% of the sample:
in 97 to 100 of 100 simulated runs with stretches of a tenth to a fifth of the phase
(`tests/analysis/test_latency.py`). From 100 requests on."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """What a sample says of the value that a share of all requests is at or under."""

    value: float
    """The sample's own."""
    interval: Interval | None
    """95%; None where the sample doesn't support it."""
    at_least: float | None
    """One-sided 95% lower limit; None where even the sample's smallest isn't that certain."""
    half_width: float
    """Half of the 95% interval of the share of requests at or under `value`."""
    needed: float
    """How many requests of this kind would support it, about: an interval shrinks with their root."""
    why: str
    """Why there is no interval, in words; empty where there is one."""


def quantiles(in_order: Seconds) -> dict[str, Quantile]:
    """Each percentile of latencies in seconds, which are in the order the requests were due, ascending.

    A request that took `inf` seconds had no answer, and is later than any other. Empty for no request. Needs
    memory for one more array like `in_order`, and for one of booleans.
    """
    ordered = np.sort(in_order)
    found: dict[str, Quantile] = {}
    open_at: str | None = None
    clustered, below = 1.0, ""
    for name in PERCENTILES if ordered.size else ():
        one, clustered = _quantile(name, in_order, ordered, clustered)
        if found:  # what the percentile below is at least, this one is, too
            one = replace(one, at_least=_larger(one.at_least, found[below].at_least))
        if open_at is not None:
            lower = found[open_at]
            why = one.why or f"the slow requests come in clusters: not even the {_title(open_at)} is known"
            one = replace(one, interval=None, why=why, needed=max(one.needed, lower.needed))
        elif one.interval is None:
            open_at = name
        found[name], below = one, name
    return found


def requests_needed(share: float) -> int:
    """Fewest independent requests that can support the percentile `share`: its interval's upper end must
    be an order statistic that exists. 73 for p95, 381 for p99, 3838 for p99.9."""
    return math.floor(Z_95**2 * share / (1 - share)) + 1


def _quantile(name: str, in_order: Seconds, ordered: Seconds, clustered: float) -> tuple[Quantile, float]:
    """A percentile by itself, whatever is known of the lower ones; and how clustered what is over it comes.

    That is the variance of their share, over that of independent ones. `clustered` is that of the percentile
    below: of a few requests over a high one it can't be told.
    """
    share, n = percentiles.share(name), ordered.size
    value = float(ordered[min(n - 1, math.ceil(share * n) - 1)])
    independent = share * (1 - share) / n
    # Where the percentile had no answer, it is the share of those that had one that moves.
    under = in_order <= value if math.isfinite(value) else np.isfinite(in_order)
    found = spread(Cells.of(under), independent=independent)
    half = max(Z_95 * math.sqrt(independent), found.half_width if found is not None else 0.0)
    reach = min(half, CENTRAL) if share == 0.5 and n >= FEWEST else half
    low, high = share - reach, share + reach
    interval = None
    if low > 0 and high < 1 and math.ceil(high * n) <= n:
        first, last = max(0, math.floor(low * n) - 1), min(n - 1, math.ceil(high * n) - 1)
        interval = float(ordered[first]), float(ordered[last])
    rare, least = min(share, 1 - share), requests_needed(share)
    own = max(1.0, found.error**2 / independent) if found is not None else 1.0
    estimate = Quantile(
        value=value,
        interval=interval,
        at_least=_at_least(ordered, share, found, max(own, clustered)),
        half_width=half,
        # Of too few over it nothing can be told; as many are then asked for as the percentile below comes to.
        needed=max(least, n * (half / rare) ** 2) if n >= least else least * clustered,
        why="" if interval is not None else _why(name, n),
    )
    return estimate, own


def _at_least(ordered: Seconds, share: float, found: Spread | None, clustered: float) -> float | None:
    """The largest order statistic that the truth is over in 95 of 100 samples.

    Of independent requests, the number at or under the truth is binomial, so that its rank is exact however
    few they are (Conover, Practical Nonparametric Statistics, 3.2). Where they are clustered, it is that of
    as many independent ones as they are worth, and no more than their spread allows.
    """
    n = ordered.size
    worth = max(1, math.floor(n / clustered))
    rank = min(_binomial_rank(n, share), math.floor(n * _binomial_rank(worth, share) / worth))
    if found is not None:
        low = share - student(0.95, round(found.freedom, 2)) * found.error
        rank = min(rank, math.floor(low * n))
    return float(ordered[rank - 1]) if rank >= 1 else None


def _larger(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _binomial_rank(n: int, share: float) -> int:
    """The largest rank that a binomial number of `n`, each of probability `share`, reaches in 95 of 100."""
    from scipy.special import bdtr, bdtrik

    if bdtr(0, n, share) >= 0.05:
        return 0
    rank = max(0, math.floor(float(bdtrik(0.05, n, share))) - 1)
    while bdtr(rank, n, share) < 0.05:
        rank += 1
    return rank


def _why(name: str, n: int) -> str:
    """Why a sample of `n` doesn't support a percentile."""
    share = percentiles.share(name)
    needed = requests_needed(share)
    if n < needed:
        return f"{n} requests; a {_title(name)} takes {needed} that are independent"
    if share > 0.5:
        return "the slow requests come in clusters: its interval reaches past the largest sample"
    return f"{n} requests, in clusters: its interval reaches past the sample"


def _title(name: str) -> str:
    return percentiles.figure_title(name)
