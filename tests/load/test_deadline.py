"""A deadline bounds each call by its own beginning, whatever calls were before it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gevent
import pytest

from harness.load.wire.stream import Deadline, Expired


@pytest.fixture
def deadline() -> Iterator[Deadline]:
    made = Deadline(0.2)
    yield made
    made.close()


def cut_off_after(deadline: Deadline) -> float:
    """Seconds that a call which never ends takes."""
    began = time.monotonic()
    deadline.start()
    with pytest.raises(Expired):
        gevent.sleep(5)
    deadline.stop()
    return time.monotonic() - began


def test_it_counts_from_the_latest_start(deadline: Deadline) -> None:
    deadline.start()
    gevent.sleep(0.15)
    deadline.stop()
    assert 0.2 <= cut_off_after(deadline) < 2


def test_nobody_is_thrown_out_after_a_stop(deadline: Deadline, capfd: pytest.CaptureFixture[str]) -> None:
    deadline.start()
    deadline.stop()
    gevent.sleep(0.3)
    assert 0.2 <= cut_off_after(deadline) < 2, "and it can be started again"
    assert 0.2 <= cut_off_after(deadline) < 2
    assert capfd.readouterr().err == ""


def test_a_busy_loop_is_not_cut_off_early(deadline: Deadline) -> None:
    end = time.monotonic() + 0.1
    while time.monotonic() < end:  # the event loop's idea of now is that old
        pass
    assert cut_off_after(deadline) >= 0.2


def test_it_is_the_one_who_started_it_last(deadline: Deadline) -> None:
    first = gevent.spawn(lambda: (deadline.start(), gevent.sleep(0.05), deadline.stop(), gevent.sleep(0.4)))
    gevent.sleep(0.1)
    assert cut_off_after(deadline) >= 0.2
    first.get()


def test_a_closed_one_rings_no_more(deadline: Deadline) -> None:
    deadline.start()
    deadline.close()
    gevent.sleep(0.3)  # or this raises
