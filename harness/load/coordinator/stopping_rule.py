"""Looks at what was due so far, while the load goes on: is it enough?

What a look has found enough is what the figures are of in the end. So it looks at the requests that were due
before a time, when all of them are recorded: neither those in flight, which are the slow ones, nor any that
come later can change the answer.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from harness.analysis.columns import gather
from harness.load.spools import Spools
from harness.schema.samples import Measured

Enough = Callable[[Measured], bool]
"""Is given what the measured phase has so far, in the order the requests were due."""

_GROWTH = 1.25
"""Each look comes when the phase is so much longer than at the last: few looks, and little too late."""
_NICE = 10


class StoppingRule:
    """Asks `enough` at `first_s` and later again, in a thread that gives way to the load."""

    def __init__(
        self,
        enough: Enough,
        folder: Path,
        first_s: float,
        mark: Callable[[], int],
        settled: Callable[[], bool],
    ) -> None:
        """`mark` gives a time, on the clock of the records, and `settled` whether all that was due before it
        is in `folder`."""
        self.taken = 0
        self._enough, self._folder, self._due_s = enough, folder, first_s
        self._mark, self._settled = mark, settled
        self._before_ns: int | None = None
        self._look: Future[bool] | None = None
        self._thread = ThreadPoolExecutor(1, "look", initializer=_give_way)

    def enough(self, elapsed_s: float) -> int | None:
        """A time, once a look has found what was due before it to be enough. Raises what `enough` raises."""
        if self._look is not None and self._look.done():
            found, before_ns = self._look.result(), self._before_ns
            self._look = self._before_ns = None
            self.taken += 1
            self._due_s = max(self._due_s, elapsed_s) * _GROWTH
            if found:
                self._due_s = float("inf")
                return before_ns
        if self._before_ns is None and elapsed_s >= self._due_s:
            self._before_ns = self._mark()
        if self._before_ns is not None and self._look is None and self._settled():
            self._look = self._thread.submit(self._ask, self._before_ns)
        return None

    def close(self) -> None:
        """Wait for the look that has begun: it reads files that may be removed next."""
        self._thread.shutdown()

    def _ask(self, before_ns: int) -> bool:
        spools = Spools(self._folder)
        measured = gather(spools.chunks(), spools.size).measured
        return bool(self._enough(measured.due_before(before_ns)))


def _give_way() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
