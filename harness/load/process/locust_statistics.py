"""Locust's own statistics, which count requests some dozens at a time.

Locust counts each request in its total and once more under its name, which takes longer than all else that
is done with a reply. The `request` event is fired for each as ever; what Locust counts at it waits for a
moment, and is then counted as Locust's master counts what its workers say: in sums.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from locust import stats as locust_stats

_AT_ONCE = 64
"""Counted in some tens of microseconds, while the answers of other users wait."""
_FEW = 5
"""Requests of one name; a sum of fewer costs more than it saves."""

_Request = tuple[str, str, float, int]
"""Name, method, response time in ms, bytes of the answer."""


class CountedAtOnce:
    """Has a RequestStats count `_AT_ONCE` requests at a time, and the rest when `count` is called."""

    def __init__(self, statistics: Any) -> None:
        self._statistics = statistics
        self._waiting: list[_Request] = []
        statistics.log_request = self._log

    def _log(self, method: str, name: str, response_time: float, content_length: int) -> None:
        waiting = self._waiting
        waiting.append((name, method, response_time, content_length))
        if len(waiting) >= _AT_ONCE:
            self.count()

    def count(self) -> None:
        """Bring the statistics up to date."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        sums = self._sums(waiting)
        self._statistics.total.extend(sums)
        by_name: dict[tuple[str, str], list[_Request]] = {}
        for each in waiting:
            by_name.setdefault(each[:2], []).append(each)
        for key, of_name in by_name.items():
            entry = self._statistics.entries[key]
            if len(of_name) >= _FEW:
                entry.extend(sums if len(of_name) == len(waiting) else self._sums(of_name))
                continue
            for _, _, response_time, content_length in of_name:
                entry.log(response_time, content_length)

    def _sums(self, requests: list[_Request]) -> Any:
        """An entry of Locust's for all of them."""
        _, _, times, sizes = zip(*requests, strict=True)
        sums = locust_stats.StatsEntry(self._statistics, "", "")
        sums.num_requests = len(times)
        sums.total_response_time = sum(times)
        sums.min_response_time, sums.max_response_time = min(times), max(times)
        sums.response_times = Counter(map(locust_stats.bucket_response_time, times))
        sums.last_request_timestamp = time.time()
        sums.num_reqs_per_sec = {int(sums.last_request_timestamp): len(times)}
        sums.total_content_length = sum(sizes)
        return sums
