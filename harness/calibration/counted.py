"""Requests a second by Triton's own count, looked at while another process sends.

When it is given a count of requests, perf_analyzer divides them by whole seconds: 8,369 requests in one
second or a little more are 4,184/s in its report (seen), which would flatter harness.
"""

from __future__ import annotations

import time

from harness.triton.server import Server

LOOK_S = 0.1
"""Between two looks."""


class Counter:
    """The answers of one model from now on."""

    def __init__(self, server: Server, model: str) -> None:
        self._server, self._model = server, model
        self._before = server.statistics(model).successes
        self._looks: list[tuple[float, int]] = []

    def look(self) -> None:
        """To be called again and again while the other process runs."""
        if self._looks and time.monotonic() < self._looks[-1][0] + LOOK_S:
            return
        began = time.monotonic()
        count = self._server.statistics(self._model, settled=False).successes - self._before
        self._looks.append(((began + time.monotonic()) / 2, count))

    def answered(self) -> int:
        """When the other process is done."""
        return self._server.statistics(self._model).successes - self._before

    def per_s(self, answered: int) -> float | None:
        """Over the middle nine tenths of what was answered; None where that was over too soon."""
        middle = [look for look in self._looks if 0.05 * answered <= look[1] <= 0.95 * answered]
        if len(middle) < 2 or middle[-1][1] == middle[0][1]:
            return None
        return (middle[-1][1] - middle[0][1]) / (middle[-1][0] - middle[0][0])
