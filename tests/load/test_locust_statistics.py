"""Locust's statistics, counted in sums, beside Locust's own counting of the same requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

METHODS = st.sampled_from(["HTTP", "gRPC"])
NAMES = st.sampled_from(["short", "long"]) | st.integers(0, 99).map(str)
REQUESTS = st.lists(
    st.tuples(METHODS, NAMES, st.floats(0.001, 1e5), st.integers(0, 2**32), st.booleans()), max_size=300
)
Requests = list[tuple[str, str, float, int, bool]]
Make = Callable[[], Any]


@pytest.fixture(scope="module")
def plainly() -> Make:
    """Makes Locust's statistics; without the patches that Locust makes to the process that imports it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
        from locust.stats import RequestStats
    return RequestStats


@pytest.fixture(scope="module")
def in_sums(plainly: Make) -> Callable[[], tuple[Any, Any]]:
    """Makes such that count in sums, and what has them do so."""
    from harness.load.process.locust_statistics import CountedAtOnce

    def make() -> tuple[Any, Any]:
        statistics = plainly()
        return statistics, CountedAtOnce(statistics)

    return make


def of(entry: Any) -> dict[str, object]:
    """What Locust shows of an entry, but for its times of day."""
    return {
        "requests": entry.num_requests,
        "failures": entry.num_failures,
        "total": pytest.approx(entry.total_response_time),
        "least": entry.min_response_time,
        "most": entry.max_response_time,
        "times": dict(entry.response_times),
        "bytes": entry.total_content_length,
        "in seconds": sum(entry.num_reqs_per_sec.values()),
    }


@given(REQUESTS)
def test_the_sums_are_what_locust_counts_one_by_one(plainly: Make, in_sums: Make, requests: Requests) -> None:
    plain, (summed, counted) = plainly(), in_sums()
    for method, name, response_time, size, failed in requests:
        for statistics in (plain, summed):
            statistics.log_request(method, name, response_time, size)
            if failed:
                statistics.log_error(method, name, "no")
    counted.count()
    assert of(summed.total) == of(plain.total)
    assert {key: of(entry) for key, entry in summed.entries.items()} == {
        key: of(entry) for key, entry in plain.entries.items()
    }
    last = summed.total.last_request_timestamp
    assert last is None if not requests else time.time() - 60 < last <= time.time()


def test_locust_waits_for_some_dozens_and_not_for_the_end(in_sums: Make) -> None:
    statistics, counted = in_sums()
    for _ in range(1000):
        statistics.log_request("HTTP", "short", 1.0, 1)
    assert 900 < statistics.num_requests < 1000
    counted.count()
    assert statistics.num_requests == 1000
    assert statistics.total.response_times_cache is not None
    counted.count()
    assert statistics.num_requests == 1000
