"""Whether one life of the server and of its model answered a whole point.

Neither Triton's statistics nor its metrics (2.51) say when it started or loaded a model. Two signs are left:
its counters only grow as long as nobody loads the model anew, and the processes of a server of ours stay the
same. The Python backend starts a model instance that died anew, some seconds later, and no counter tells.
"""

from __future__ import annotations

import psutil

from harness.child_process import lives
from harness.triton.server import Server
from harness.triton.statistics import Statistics, fell


class Continuity:
    """Compares each look at a server with the look before."""

    broken: str | None
    """How it was first seen that the server, the model or an instance of it began anew; None if none did."""

    def __init__(self, server: Server, model: str, version: int | None = None) -> None:
        self.broken = None
        self._server, self._model, self._version = server, model, version
        self._processes: set[int] = set()
        self._statistics: Statistics | None = None

    def look(self, *, settled: bool = True) -> Statistics:
        """The server's counters now; `settled` as in `Server.statistics`. Raises ServerError as that does.

        A model that was loaded anew and has done more since than before is missed; the client has then
        counted more answers than Triton.
        """
        statistics = self._server.statistics(self._model, version=self._version, settled=settled)
        alive = {pid for pid in self._server.process_ids() if _lives(pid)}  # none where they can't be seen
        gone = sorted(self._processes - alive) if alive else []
        if self.broken is None and self._statistics is not None:
            self.broken = fell(self._statistics, statistics)
            if gone:
                self.broken = f"its process {', '.join(map(str, gone))} ended"
        self._statistics, self._processes = statistics, alive
        return statistics


def _lives(pid: int) -> bool:
    """Triton keeps a dead instance's process as a zombie until it has started another."""
    try:
        return lives(psutil.Process(pid))
    except psutil.Error:
        return False
