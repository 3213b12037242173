"""What a queue's figures should be: by theory where there is a formula, and over the very requests sent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.analysis import queueing
from harness.calibration.figures import SHARES, THROUGHPUT, quantile
from harness.calibration.station import PERIOD_S, STALL_S, Service
from harness.schema.point import PointLoad
from harness.schema.samples import Measured

Seconds = npt.NDArray[np.float64]


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


def theoretical(queue: Queue, wire_s: float) -> dict[str, float]:
    """The figures of the queue in its steady state; empty where there is no formula for it."""
    rate, mean_s = queue.load.rate_per_s, queue.service.mean_s
    if queue.theory is None or rate is None:
        return {}
    sojourn_s = {"M/M/1": queueing.mm1_sojourn_s, "M/D/1": queueing.md1_sojourn_s}[queue.theory]
    figures = {name: sojourn_s(rate, mean_s, share) + wire_s for name, share in SHARES.items()}
    return {**figures, THROUGHPUT: rate}


def simulated(queue: Queue, measured: Measured, skipped: int, wire_s: float) -> dict[str, float]:
    """The figures of the queue over the very requests that were sent, each at its intended time.

    `skipped` first requests count in no percentile, as they do in the measurement's.
    """
    due_s = measured.intended_ns / 1e9
    sojourn_s = sojourns_s(queue, measured, wire_s)
    figures = {name: quantile(sojourn_s[skipped:], share) for name, share in SHARES.items()}
    seconds = float(due_s[-1] - due_s[0])
    return {**figures, THROUGHPUT: int(np.count_nonzero(due_s + sojourn_s < due_s[-1])) / seconds}


def sojourns_s(queue: Queue, measured: Measured, wire_s: float) -> Seconds:
    """What each of the requests should have taken, `wire_s` of it on the way."""
    due_s = measured.intended_ns / 1e9
    served_s = np.asarray(queue.service.seconds)[measured.request_class]
    stall = (STALL_S, PERIOD_S) if queue.stalling else (0.0, 1.0)
    # Half of what is on top comes before the service, and decides what a stall catches.
    sojourn_s: Seconds = queueing.finishes(due_s + wire_s / 2, served_s, *stall) + wire_s / 2 - due_s
    return sojourn_s
