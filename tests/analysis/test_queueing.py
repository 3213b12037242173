"""Theory against simulation, and the simulation against a loop that anybody can check."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis import queueing

times = st.floats(0, 3, allow_subnormal=False)


def by_a_loop(
    arrivals_s: list[float], services_s: list[float], stall_s: float, period_s: float
) -> list[float]:
    """Departures, one request and one stretch of work at a time."""
    free, departures = -math.inf, []
    for arrival, service in zip(arrivals_s, services_s, strict=True):
        now, left = max(arrival, free), service
        number = math.floor(now / period_s)
        while True:
            now = max(now, number * period_s + stall_s)
            work = (number + 1) * period_s - now
            if left <= work:
                break
            left, number = left - work, number + 1
        free = now + left
        departures.append(free)
    return departures


@given(
    st.lists(st.tuples(times, st.floats(0.001, 2)), min_size=1, max_size=40),
    st.floats(0, 0.9),
    st.floats(0.1, 5),
)
def test_departures_are_those_of_a_loop(
    requests: list[tuple[float, float]], part: float, period: float
) -> None:
    arrivals = np.cumsum([gap for gap, _ in requests])
    services = np.array([service for _, service in requests])
    stall = part * period
    got = queueing.finishes(arrivals, services, stall, period)
    expected = np.array(by_a_loop(arrivals.tolist(), services.tolist(), stall, period))
    # Work that ends exactly where a stall begins may be counted to end behind it, and the reverse.
    near_a_stall = np.abs(expected / period - np.round(expected / period)) < 1e-6
    near_a_stall |= np.abs((expected - stall) / period - np.round((expected - stall) / period)) < 1e-6
    assert np.abs(got - expected)[~near_a_stall] == pytest.approx(0, abs=1e-9)
    assert (np.abs(got - expected) <= stall + 1e-9).all()


def test_a_stall_longer_than_its_period_is_refused() -> None:
    with pytest.raises(ValueError, match="doesn't fit"):
        queueing.finishes(np.zeros(1), np.ones(1), 2.0, 1.0)


def sojourns(utilization: float, services: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    arrivals = np.cumsum(rng.exponential(1 / utilization, services.size))
    return (queueing.finishes(arrivals, services) - arrivals)[services.size // 100 :]


SHARES = (0.3, 0.5, 0.9, 0.99, 0.999)


@pytest.mark.parametrize("utilization", [0.3, 0.5, 0.8])
def test_poisson_arrivals_and_constant_service(utilization: float) -> None:
    simulated = sojourns(utilization, np.ones(3_000_000), np.random.default_rng(1))
    for share in SHARES:
        expected = queueing.md1_sojourn_s(utilization / 0.004, 0.004, share) / 0.004
        assert expected == pytest.approx(np.quantile(simulated, share), rel=0.03), share
    mean = queueing.md1_mean_sojourn_s(utilization / 0.004, 0.004) / 0.004
    assert mean == pytest.approx(simulated.mean(), rel=0.01)


@pytest.mark.parametrize("utilization", [0.3, 0.5, 0.8])
def test_poisson_arrivals_and_exponential_service(utilization: float) -> None:
    rng = np.random.default_rng(1)
    simulated = sojourns(utilization, rng.exponential(1, 3_000_000), rng)
    for share in SHARES:
        expected = queueing.mm1_sojourn_s(utilization / 0.004, 0.004, share) / 0.004
        assert expected == pytest.approx(np.quantile(simulated, share), rel=0.04), share
    mean = queueing.mm1_mean_sojourn_s(utilization / 0.004, 0.004) / 0.004
    assert mean == pytest.approx(simulated.mean(), rel=0.02)


@given(st.floats(0.05, 0.97), st.floats(0, 12))
def test_the_waiting_time_of_md1_is_erlangs_alternating_sum_where_that_is_exact(
    utilization: float, services: float
) -> None:
    """P(W ≤ t) = (1 - ρ) Σ_{k ≤ t} e^{-ρ(k - t)} (ρ(k - t))^k / k!; in whole numbers of many digits."""
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 60
        rho, t, total = Decimal(utilization), Decimal(services), Decimal(0)
        for k in range(math.floor(services) + 1):
            x = rho * (k - t)
            total += (-x).exp() * (x**k if k else Decimal(1)) / math.factorial(k)
        expected = float((1 - rho) * total)
    assert queueing.md1_waiting_share(utilization, services) == pytest.approx(expected, abs=1e-12)


def test_the_waiting_time_of_md1_has_its_exponential_tail() -> None:
    """P(W > t) falls by e^-θ with each service time, where θ solves ρ(e^θ - 1) = θ."""
    rho, theta = 0.9, 0.5
    for _ in range(200):
        theta -= (rho * math.expm1(theta) - theta) / (rho * math.exp(theta) - 1)
    tail = [1 - queueing.md1_waiting_share(rho, t) for t in (30.0, 60.0, 90.0)]
    assert theta > 0.1
    assert tail[1] / tail[0] == pytest.approx(math.exp(-30 * theta), rel=1e-6)
    assert tail[2] / tail[1] == pytest.approx(math.exp(-30 * theta), rel=1e-4)


def test_a_lightly_used_server_of_constant_service_mostly_finds_nobody_waiting() -> None:
    assert queueing.md1_sojourn_s(20, 0.01, 0.79) == 0.01
    assert queueing.md1_sojourn_s(20, 0.01, 0.81) > 0.01


@pytest.mark.parametrize("share", [0.5, 0.85, 0.9, 0.99, 0.999])
@pytest.mark.parametrize(("rate", "service"), [(100.0, 0.005), (62.5, 0.008), (37.3, 0.02)])
def test_constant_arrivals_and_service_with_stalls(rate: float, service: float, share: float) -> None:
    arrivals = np.arange(int(rate * 5 * 997)) / (rate * 1.0000137)  # never in step with the stalls
    latency = queueing.finishes(arrivals, np.full(arrivals.size, service), 0.5, 5.0) - arrivals
    expected = queueing.stalled_sojourn_s(rate, service, 0.5, 5.0, share)
    assert expected == pytest.approx(np.quantile(latency, share), rel=0.005)


def test_a_queue_without_a_steady_state_has_no_truth() -> None:
    for truth in (queueing.mm1_sojourn_s, queueing.md1_sojourn_s):
        with pytest.raises(ValueError, match="no steady state"):
            truth(100, 0.01, 0.5)
    with pytest.raises(ValueError, match="catch up"):
        queueing.stalled_sojourn_s(100, 0.0091, 0.5, 5.0, 0.5)
