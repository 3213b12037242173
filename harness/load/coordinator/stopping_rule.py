"""Looks at what was recorded so far, while the load goes on: is it enough?"""

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
"""Is given what the measured phase has so far."""

_GROWTH = 1.25
"""Each look comes when the phase is so much longer than at the last: few looks, and little too late."""
_NICE = 10


class StoppingRule:
    """Asks `enough` at `first_s` and later again, in a thread that gives way to the load."""

    def __init__(self, enough: Enough, folder: Path, first_s: float) -> None:
        self.taken = 0
        self._enough, self._folder, self._due_s = enough, folder, first_s
        self._look: Future[bool] | None = None
        self._thread = ThreadPoolExecutor(1, "look", initializer=_give_way)

    def enough(self, elapsed_s: float) -> bool:
        """Whether a look has found that it is enough. Raises what `enough` raises."""
        if self._look is not None and self._look.done():
            found, self._look = self._look.result(), None
            self.taken += 1
            self._due_s = max(self._due_s, elapsed_s) * _GROWTH
            if found:
                self._due_s = float("inf")
                return True
        if self._look is None and elapsed_s >= self._due_s:
            self._look = self._thread.submit(self._ask)
        return False

    def close(self) -> None:
        """Wait for the look that has begun: it reads files that may be removed next."""
        self._thread.shutdown()

    def _ask(self) -> bool:
        spools = Spools(self._folder)
        return bool(self._enough(gather(spools.chunks(), spools.size).measured))


def _give_way() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
