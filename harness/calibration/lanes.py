"""Several points measured at once: the truth models mostly wait, so none takes another's time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from harness.schema.scenario import Protocol

Found = TypeVar("Found")

_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Lane:
    """One protocol on one model of its own, so that Triton counts its requests alone."""

    protocol: Protocol
    number: int = 0
    together: threading.Barrier | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return f"{self.protocol}-{self.number}"

    def gather(self) -> None:
        """Wait until every lane is ready to measure: the start of a load process takes much CPU."""
        if self.together is not None:
            with suppress(threading.BrokenBarrierError):
                self.together.wait(_WAIT_S)


def in_lanes(
    lanes: Sequence[Lane], measure: Callable[[Lane], Found], stop: threading.Event
) -> tuple[Found, ...]:
    """What `measure` found in each lane. An interrupt, or the failure of one, sets `stop` for the others."""
    barrier = threading.Barrier(len(lanes))

    def one(lane: Lane) -> Found:
        try:
            return measure(Lane(lane.protocol, lane.number, barrier))
        finally:
            barrier.abort()  # whoever still waits needn't wait for this one

    with ThreadPoolExecutor(len(lanes)) as pool:
        under_way = [pool.submit(one, lane) for lane in lanes]
        try:
            return tuple(each.result() for each in under_way)
        except BaseException:
            stop.set()
            raise
