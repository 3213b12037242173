"""What a queue's latencies should be, so that a measurement can be compared with the truth.

One server, first come first served, an endless queue. A sojourn is from arrival to departure, as a latency is
from the intended send to the answer. Rates are per second, times in seconds.

Sources: Lindley, Proceedings of the Cambridge Philosophical Society 48, 1952 (the recursion); Kleinrock,
Queueing Systems I, 1975, ch. 3 (M/M/1); Erlang 1909 and Crommelin 1932 (M/D/1), in the form of Franx,
Operations Research Letters 29, 2001, whose terms are all positive.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]


def finishes(
    arrivals_s: Seconds, services_s: Seconds, stall_s: float = 0.0, period_s: float = 1.0
) -> Seconds:
    """When each request departs, exactly, given when they arrive (ascending) and how long they are served.

    The server stands still in [k·period_s, k·period_s + stall_s) for every integer k, and a service that a
    stall interrupts goes on after it.
    """
    if not 0 <= stall_s < period_s:
        raise ValueError(f"a stall of {stall_s:g} s doesn't fit into a period of {period_s:g} s")
    arrivals = _working(arrivals_s, stall_s, period_s) if stall_s else arrivals_s
    # D_i = max(A_i, D_{i-1}) + S_i, unrolled: the latest of all that may have started the busy period.
    served = np.cumsum(services_s)
    departures = served + np.maximum.accumulate(arrivals - (served - services_s))
    return _clock(departures, stall_s, period_s) if stall_s else departures


def _working(at_s: Seconds, stall_s: float, period_s: float) -> Seconds:
    """How long the server has worked, or might have, until each of the times."""
    period = np.floor(at_s / period_s)
    working: Seconds = period * (period_s - stall_s) + np.maximum(at_s - period * period_s - stall_s, 0.0)
    return working


def _clock(working_s: Seconds, stall_s: float, period_s: float) -> Seconds:
    """The first time at which the server has worked for that long."""
    work_s = period_s - stall_s
    period = np.ceil(working_s / work_s) - 1
    clock: Seconds = period * period_s + stall_s + (working_s - period * work_s)
    return clock


def mm1_mean_sojourn_s(rate_per_s: float, service_s: float) -> float:
    """Mean sojourn, with Poisson arrivals and exponential service."""
    _stable(rate_per_s, service_s)
    return 1 / (1 / service_s - rate_per_s)


def md1_mean_sojourn_s(rate_per_s: float, service_s: float) -> float:
    """Mean sojourn, with Poisson arrivals and constant service (Pollaczek and Khinchine)."""
    utilization = _stable(rate_per_s, service_s)
    return service_s * (1 + utilization / (2 * (1 - utilization)))


def mm1_sojourn_s(rate_per_s: float, service_s: float, share: float) -> float:
    """The sojourn that `share` of the requests don't exceed, with Poisson arrivals and exponential service.

    It is exponential too.
    """
    return -math.log1p(-share) * mm1_mean_sojourn_s(rate_per_s, service_s)


def md1_sojourn_s(rate_per_s: float, service_s: float, share: float) -> float:
    """The sojourn that `share` of the requests don't exceed, with Poisson arrivals and constant service.

    No shorter than `service_s`, which is what a request takes that finds nobody.
    """
    utilization = _stable(rate_per_s, service_s)
    if share <= 1 - utilization:
        return service_s
    low, high = 0.0, 1.0
    while md1_waiting_share(utilization, high) < share:
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if md1_waiting_share(utilization, middle) < share else (low, middle)
    return (1 + high) * service_s


def md1_waiting_share(utilization: float, services: float) -> float:
    """Share of the requests of an M/D/1 queue that wait for at most `services` service times.

    With k = ⌊t⌋ whole services and the stationary queue length q_j of M/D/1 (after a departure, waiting and
    in service together), P(W ≤ t) is the sum over j = 0..k of Q_{k-j} · Poisson(j; ρ(k + 1 - t)), where Q_i
    is the probability of at most i waiting. The well-known alternating sum of Erlang's loses every digit from
    about t = 20.
    """
    if services < 0:
        return 0.0
    whole = math.floor(services)
    waiting = np.cumsum(_md1_lengths(utilization, whole + 2))[1:]  # at most i waiting: i + 1 in the system
    mean = utilization * (whole + 1 - services)
    terms = math.exp(-mean) * np.cumprod(np.append(1.0, mean / np.arange(1, whole + 1)))
    return float(np.dot(waiting[: whole + 1][::-1], terms))


def _md1_lengths(utilization: float, number: int) -> Seconds:
    """Probabilities of 0, 1, …, number - 1 in the system, by the embedded chain's level crossings.

    Every term is positive, so that nothing cancels (Ramaswami, Stochastic Models 4, 1988).
    """
    most = number + 60
    arrivals = math.exp(-utilization) * np.cumprod(np.append(1.0, utilization / np.arange(1, most)))
    beyond = np.append(np.cumsum(arrivals[:0:-1])[::-1], 0.0)  # [i]: more than i arrivals in one service
    lengths = np.zeros(number)
    lengths[0] = 1 - utilization
    for j in range(1, number):
        up = lengths[0] * beyond[j - 1] + np.dot(lengths[1:j], beyond[j - 1 : 0 : -1])
        lengths[j] = up / arrivals[0]
    return lengths


def stalled_sojourn_s(
    rate_per_s: float, service_s: float, stall_s: float, period_s: float, share: float
) -> float:
    """The sojourn that `share` of the requests don't exceed, with constant arrivals and constant service, on
    a server that stands still for `stall_s` of each `period_s` (as in `finishes`).

    Over all phases between arrivals and stalls, each as likely: 1,000 of them are looked at.
    """
    gap_s = 1 / rate_per_s
    if not service_s < gap_s * (1 - stall_s / period_s):
        raise ValueError("the server can't catch up between two stalls")
    phases = 1000
    first_s = (np.arange(phases) + 0.5) / phases * gap_s  # the first arrival of a stall, after it began
    # The arrival before it: what was left of its service when the stall began.
    left_s = np.maximum(0.0, service_s - (gap_s - first_s))
    before = service_s + stall_s * (left_s > 0)
    most = math.ceil((stall_s + 2 * service_s) / (gap_s - service_s)) + 1
    caught_up_s = np.arange(most) * (gap_s - service_s)
    during = (stall_s + left_s + service_s - first_s)[:, None] - caught_up_s[None, :]
    ordered = np.sort(np.concatenate([before, np.maximum(during, service_s).ravel()]))
    above = round((1 - share) * period_s * rate_per_s * phases)
    return float(ordered[-1 - above]) if above < ordered.size else service_s


def _stable(rate_per_s: float, service_s: float) -> float:
    utilization = rate_per_s * service_s
    if not 0 < utilization < 1:
        raise ValueError(f"a utilization of {utilization:g} has no steady state")
    return utilization
