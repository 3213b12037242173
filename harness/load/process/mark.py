"""A time, and whether all that was due before it is recorded, while the load goes on."""

from __future__ import annotations

from collections.abc import Callable

import gevent

from harness.load.process.recorder import FAR_NS


class Mark:
    """It is passed by the load, and settled when every request that was due before it is recorded.

    An open loop hands out its requests, or sequences of them, by their times: it is past the mark with the
    first that is due after it, and awaits those before. A user of a closed loop has one request at a time: it
    is past the mark when it goes on after it, and all that it has sent is recorded.
    """

    def __init__(self, recorded: Callable[[], int], settled: Callable[[], None], *, open_loop: bool) -> None:
        """`recorded` counts what the phase has handed out, once all of it is recorded; `settled` is called
        once for each mark."""
        self.at_ns = FAR_NS
        """When it is; far where none is set, or the load is past it."""
        self.before_ns = 0
        """Each request or sequence due before this has to be told to `record` once it has ended."""
        self.handed_out = self.handed_ns = 0
        """Requests, or sequences, of an open loop in this phase, and when the last of them was due."""
        self._recorded, self._settled, self._open_loop = recorded, settled, open_loop
        self._awaited = 0
        self._passed: set[object] = set()

    def begin(self) -> None:
        """A phase begins, and none is set."""
        self.at_ns, self.before_ns, self.handed_out, self.handed_ns = FAR_NS, 0, 0, 0
        self._passed.clear()

    def set(self, at_ns: int, users: int) -> None:
        """Let it be at this time, with so many users in the phase."""
        self.at_ns = at_ns
        if not users:
            self._settle()
        elif self._open_loop and self.handed_ns >= at_ns:  # word came late: some are of after it
            self.at_ns = self.handed_ns + 1
            self.passed(users)

    def passed(self, users: int) -> None:
        """The open loop, or this user of a closed one, is past it; so many users are in the phase."""
        if self._open_loop:
            self.before_ns, self.at_ns = self.at_ns, FAR_NS
            self._awaited = self.handed_out - self._recorded()
            if not self._awaited:
                self._settle()
        else:
            self._passed.add(gevent.getcurrent())
            if len(self._passed) >= users:
                self._settle()

    def record(self) -> None:
        """One of those due before it has ended."""
        self._awaited -= 1
        if not self._awaited:
            self._settle()

    def leave(self) -> None:
        """This user is no longer in the phase."""
        self._passed.discard(gevent.getcurrent())

    def _settle(self) -> None:
        self._passed.clear()
        self.at_ns, self.before_ns = FAR_NS, 0
        self._settled()
