"""The requests of several replicas: as one load, and each replica's own figures."""

from __future__ import annotations

import numpy as np
import pytest

from harness.analysis.by_replica import as_one, replica_figures, unlike_words
from harness.schema.observed import Observed, ReplicaObserved
from harness.schema.result import ReplicaFigures
from harness.schema.samples import Measured, Status


def spread(*latencies_s: float, requests: int = 4000, classes: int = 2) -> Measured:
    """Requests in turns to as many replicas, whose latencies lie about those."""
    rng = np.random.default_rng(5)
    replica = np.arange(requests) % len(latencies_s)
    kind = rng.integers(0, classes, requests)
    due_ns = np.arange(requests, dtype=np.int64) * 1_000_000
    took_ns = (np.array(latencies_s)[replica] * rng.uniform(0.5, 1.5, requests) * 1e9).astype(np.int64)
    status = np.where(np.arange(requests) % 100 == 0, Status.TIMEOUT, Status.OK)
    return Measured(
        request_class=(replica * classes + kind).astype(np.uint16),
        status=status.astype(np.uint8),
        reason=np.zeros(requests, np.uint16),
        intended_ns=due_ns,
        sent_ns=due_ns,
        completed_ns=due_ns + took_ns,
    )


def figures(measured: Measured, count: int) -> tuple[ReplicaFigures, ...]:
    replicas = tuple(ReplicaObserved(address=f"10.0.0.{n}:8000", server=None) for n in range(count))
    observed = Observed.model_construct(replicas=replicas)
    return replica_figures(observed, measured, measured.ok, classes=2)


def test_each_has_its_own_requests_errors_and_latency() -> None:
    first, second = figures(spread(0.01, 0.03), 2)
    assert (first.requests, second.requests) == (2000, 2000)
    assert (first.errors, second.errors) == (40, 0), "each hundredth failed, and went to the first"
    assert first.latency_s.p50 == pytest.approx(0.01, rel=0.05)
    assert second.latency_s.p50 == pytest.approx(0.03, rel=0.05)


def test_together_they_are_one_load() -> None:
    measured = spread(0.01, 0.02, 0.03)
    one = as_one(measured, 2)
    assert set(one.request_class.tolist()) == {0, 1}
    assert np.array_equal(one.request_class, measured.request_class % 2)
    assert np.array_equal(one.completed_ns, measured.completed_ns)
    assert as_one(one, 2) is one, "what is one already isn't copied: it may be a gigabyte"


@pytest.mark.parametrize(("slow_s", "told"), [(0.01, False), (0.0105, False), (0.013, True)])
def test_a_slower_one_is_told_where_it_is_certain(slow_s: float, told: bool) -> None:
    words = list(unlike_words(figures(spread(0.01, slow_s, 0.01), 3)))
    assert bool(words) is told, words
    if told:
        assert "ms at 10.0.0.1:8000 and" in words[0] and words[0].endswith("ms at 10.0.0.0:8000")


def test_too_few_requests_tell_nothing() -> None:
    assert list(unlike_words(figures(spread(0.01, 0.5, requests=8), 2))) == []
