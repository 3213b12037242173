"""What a queue's figures should be: by theory where there is a formula, and over the very requests sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.analysis import queueing
from harness.calibration.figures import SHARES, THROUGHPUT, quantile
from harness.calibration.service import Service
from harness.calibration.station import PERIOD_S, STALL_S
from harness.schema.load import PointLoad
from harness.schema.samples import Measured

Seconds = npt.NDArray[np.float64]
Share = Callable[[Seconds], Seconds]
"""Share of a queue's sojourns that don't exceed each of the times."""

MOST_WAIT, WAIT_STEP = 20.0, 0.005
"""In service times: up to where, and how finely, the distribution of an M/D/1 queue is computed. At 30%
utilization it takes 3 for a p99.9."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One server, first come first served."""

    name: str
    service: Service
    load: PointLoad
    stalling: bool
    theory: str | None
    """"M/D/1" or "M/M/1"."""

    @property
    def description(self) -> str:
        stalls = f"; stands still for {STALL_S:g} s each {PERIOD_S:g} s" if self.stalling else ""
        return f"service {self.service.words}; arrivals {self.load.label}{stalls}"


@dataclass(frozen=True, slots=True)
class Added:
    """What requests took beyond the queue, in seconds, and at which time each, ascending."""

    at_ns: npt.NDArray[np.int64]
    seconds: Seconds

    @classmethod
    def always(cls, seconds: float) -> Added:
        return cls(np.zeros(1, np.int64), np.array([seconds]))

    def nearest(self, at_ns: npt.NDArray[np.int64]) -> Seconds:
        """The one nearest in time, for each."""
        after = np.clip(np.searchsorted(self.at_ns, at_ns), 1, max(self.at_ns.size - 1, 1))
        before = after - 1
        after = np.minimum(after, self.at_ns.size - 1)
        nearer = np.where(at_ns - self.at_ns[before] <= self.at_ns[after] - at_ns, before, after)
        return self.seconds[nearer]


NOTHING = Added.always(0.0)


def theoretical(queue: Queue, added: Added) -> dict[str, float]:
    """The figures of the queue in its steady state, `added` as a distribution on top; empty where there is no
    formula for it."""
    rate, mean_s = queue.load.shape.nominal_rate_per_s, queue.service.mean_s
    if queue.theory is None or rate is None:
        return {}
    within = _mm1(rate, mean_s) if queue.theory == "M/M/1" else _md1(rate, mean_s)
    figures = {name: _sum_quantile(within, added.seconds, share) for name, share in SHARES.items()}
    return {**figures, THROUGHPUT: rate}


def simulated(queue: Queue, measured: Measured, skipped: int, added: Added) -> dict[str, float]:
    """The figures of the queue over the very requests that were sent, each at its intended time.

    `skipped` first requests count in no percentile, as they do in the measurement's.
    """
    due_s = measured.intended_ns / 1e9
    sojourn_s = sojourns_s(queue, measured, added)
    figures = {name: quantile(sojourn_s[skipped:], share) for name, share in SHARES.items()}
    seconds = float(due_s[-1] - due_s[0])
    return {**figures, THROUGHPUT: int(np.count_nonzero(due_s + sojourn_s < due_s[-1])) / seconds}


def sojourns_s(queue: Queue, measured: Measured, added: Added) -> Seconds:
    """What each of the requests should have taken, with what was `added` to the one nearest in time."""
    due_s = measured.intended_ns / 1e9
    served_s = np.asarray(queue.service.seconds)[measured.request_class]
    stall = (STALL_S, PERIOD_S) if queue.stalling else (0.0, 1.0)
    # Half of what is added comes before the service, and decides what a stall catches.
    half_s = added.nearest(measured.intended_ns) / 2
    arrived_s = due_s + half_s
    order = np.argsort(arrived_s, kind="stable")
    sojourn_s = np.empty_like(due_s)
    sojourn_s[order] = queueing.finishes(arrived_s[order], served_s[order], *stall)
    sojourn_s += half_s - due_s
    return sojourn_s


def _mm1(rate_per_s: float, service_s: float) -> Share:
    mean_s = queueing.mm1_mean_sojourn_s(rate_per_s, service_s)
    return lambda at_s: -np.expm1(-np.maximum(at_s, 0.0) / mean_s)


def _md1(rate_per_s: float, service_s: float) -> Share:
    waits = np.arange(0.0, MOST_WAIT, WAIT_STEP)
    shares = np.array([queueing.md1_waiting_share(rate_per_s * service_s, wait) for wait in waits])
    return lambda at_s: np.interp(at_s / service_s - 1, waits, shares, left=0.0)


def _sum_quantile(within: Share, added_s: Seconds, share: float) -> float:
    """The value that `share` of the sums of two independent times don't exceed: one of the distribution
    `within`, the other one of `added_s`, each as likely."""
    low, high = 0.0, float(added_s.max()) + 1.0
    while float(within(high - added_s).mean()) < share:
        high *= 2
    while high - low > 1e-9:
        middle = (low + high) / 2
        enough = float(within(middle - added_s).mean()) >= share
        low, high = (low, middle) if enough else (middle, high)
    return high
