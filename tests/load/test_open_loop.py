"""The connections of an open loop: as many as the load needs, and no more."""

from __future__ import annotations

from itertools import repeat
from time import monotonic_ns

import gevent
import numpy as np
import pytest

from harness.load.process import loops
from harness.load.process.loops import OpenLoop
from harness.load.wire import Reply
from harness.schema.samples import Status

ANSWER_S = 0.02


class Slow:
    """A connection that answers after a while."""

    is_open = True

    def call(self, _: bytes) -> Reply:
        gevent.sleep(ANSWER_S)
        return Reply(Status.OK, None, 1, 2, 3, 4, 5)

    def close(self) -> None:
        self.is_open = False


def test_connections_that_a_burst_has_left_idle_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_IDLE_NS", 100_000_000)
    made: list[Slow] = []
    recorded: list[Reply] = []

    def connect() -> Slow:
        made.append(Slow())
        return made[-1]

    pool = OpenLoop(connect, repeat([[b""]]), lambda *said: recorded.append(said[2]), 5.0)  # type: ignore[arg-type]
    times = np.concatenate([np.zeros(40), np.arange(1, 60) * 0.025])
    pool.run(monotonic_ns(), times, repeat((0, 0)), lambda _: True)
    assert len(recorded) == len(times) and {reply.status for reply in recorded} == {Status.OK}
    assert len(made) >= 30
    # What a busy machine holds up comes in bursts of its own; of the first nothing is left.
    assert sum(connection.is_open for connection in made) <= len(made) - 20
    pool.close()
    gevent.sleep(0)
    assert not any(connection.is_open for connection in made)
