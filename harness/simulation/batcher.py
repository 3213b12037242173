"""Triton's dynamic batcher in front of the instances of one model, as a discrete-event simulation.

The rules are those of Triton's `DynamicBatchScheduler` (triton-inference-server/core,
`src/dynamic_batch_scheduler.cc`): requests wait in one queue, first come first served; when an instance is
free, a batch is made of those that are at its head.

- A batch that can't grow any more goes at once: `max_batch` is reached or the next request would exceed it,
  or the next request has another shape.
- A batch of a preferred size goes at once, the largest that those in the queue make up.
- Any other waits for more until its oldest request is `queue_delay_s` old, and then goes as it is. Without a
  delay it doesn't wait.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]
Kinds = npt.NDArray[np.int64]
"""Numbers of the kinds that requests are of."""

Service = Callable[[int, int], float]
"""Draws the seconds that an instance takes, alone, for a batch of requests of a kind, and of so many
inferences."""


@dataclass(frozen=True, slots=True)
class Batcher:
    """One configuration of a model in Triton."""

    max_batch: int = 1
    queue_delay_s: float = 0.0
    instances: int = 1
    preferred: Sequence[int] = ()
    """Preferred batch sizes, ascending."""
    sizes: Sequence[int] = (1,)
    """Inferences in a request of each kind. Requests of two kinds differ in shape: no batch has both."""
    speeds: Sequence[float] = ()
    """How fast each of 1, 2, … busy instances goes, over one that is alone; the last stands for more. Empty:
    no instance is slower because of others."""


class Station:
    """The model while it is served: it takes requests in the order in which they are due, and goes on to any
    time that is not before them."""

    __slots__ = ("_at_once", "_batcher", "_busy", "_clock", "_head", "_most", "_next", "_rate", "_service",
                 "_work", "busy_s", "done", "due", "finished", "kinds")  # fmt: skip

    def __init__(self, batcher: Batcher, service: Service) -> None:
        """Raises ValueError for a kind of requests that is larger than a batch may be."""
        if max(batcher.sizes) > batcher.max_batch:
            raise ValueError(
                f"a request of {max(batcher.sizes)} is larger than max_batch, {batcher.max_batch}"
            )
        self.due: list[float] = []
        """When each request arrived, seconds."""
        self.kinds: list[int] = []
        """Which kind each request is of; empty where there is one kind only."""
        self.done: list[float] = []
        """When each was answered; infinite of those in an instance."""
        self.finished = 0
        self.busy_s = 0.0
        """Seconds that instances computed, all of them together, until the last event."""
        self._batcher, self._service = batcher, service
        self._at_once = not batcher.queue_delay_s and not batcher.preferred and len(batcher.sizes) == 1
        self._most = batcher.max_batch // batcher.sizes[0]
        self._head = 0
        self._busy: list[tuple[float, int, int]] = []
        """Batches in instances: when each is done, on a clock that goes as fast as they do, the first of its
        requests, and how many it has."""
        self._clock = self._work = 0.0
        """The time of the last event, and what that other clock shows then."""
        self._rate = 1.0
        self._next = 0.0
        """No event comes before this."""

    def arrive(self, due_s: float, kind: int = 0) -> None:
        """A request, once `advance` has come to its time."""
        self.due.append(due_s)
        if len(self._batcher.sizes) > 1:
            self.kinds.append(kind)
        if len(self._busy) < self._batcher.instances:
            self._next = 0.0

    def take(self, due_s: Seconds, kinds: Kinds | None = None) -> None:
        """All requests there will be, whenever they are due, ascending."""
        self.due = due_s.tolist()
        if kinds is not None and len(self._batcher.sizes) > 1:
            self.kinds = kinds.tolist()

    @property
    def in_flight(self) -> int:
        """Requests that have arrived and aren't answered, at the time that `advance` came to."""
        return len(self.due) - self.finished

    def advance(self, to_s: float) -> float:
        """Whatever begins or ends until then, both ends included; when the next event is due if nobody
        arrives."""
        if to_s < self._next:
            return self._next
        due, kinds, done, busy = self.due, self.kinds, self.done, self._busy
        batcher, service, at_once = self._batcher, self._service, self._at_once
        instances, sizes, speeds, most = batcher.instances, batcher.sizes, batcher.speeds, self._most
        clock, work, rate, head, came = self._clock, self._work, self._rate, self._head, len(due)
        count = 0
        while True:
            ends = clock + (busy[0][0] - work) / rate if busy else math.inf
            begins = math.inf
            if head < came and len(busy) < instances:
                begins = clock if clock > due[head] else due[head]
                if begins > ends:
                    begins = math.inf  # when that instance is free, another batch may be made
                elif at_once:
                    count = bisect_right(due, begins, head, min(came, head + most)) - head
                else:
                    begins, count = self._batch(head, begins)
            if ends <= begins:
                if ends > to_s or not busy:
                    break
                self.busy_s += len(busy) * (ends - clock)
                clock = ends
                work, begun, count = heappop(busy)
                done[begun : begun + count] = [ends] * count
                self.finished += count
            else:
                if begins > to_s:
                    break
                passed = begins - clock
                work += passed * rate
                self.busy_s += len(busy) * passed
                clock = begins
                kind = kinds[head] if kinds else 0
                heappush(busy, (work + service(kind, count * sizes[kind]), head, count))
                done.extend([math.inf] * count)
                head += count
            if speeds:
                rate = speeds[min(max(len(busy), 1), len(speeds)) - 1]
        self._clock, self._work, self._rate, self._head = clock, work, rate, head
        self._next = ends if ends < begins else begins
        return self._next

    def _batch(self, head: int, now: float) -> tuple[float, int]:
        """When the next batch begins, not before `now`, and how many requests it has, by those that have
        arrived. Its first is `head`, which came no later than `now`."""
        batcher, due, kinds = self._batcher, self.due, self.kinds
        kind = kinds[head] if kinds else 0
        size, preferred = batcher.sizes[kind], batcher.preferred
        most = batcher.max_batch // size
        if not batcher.queue_delay_s and not preferred:  # only kinds are left to tell apart
            at, end = head + 1, min(len(due), head + most)
            while at < end and due[at] <= now and kinds[at] == kind:
                at += 1
            return now, at - head
        last = head + most
        """Where the run of requests of its kind ends, or the largest batch does."""
        if kinds:
            last = next((i for i in range(head + 1, min(last, len(due))) if kinds[i] != kind), last)
        there = bisect_right(due, now, head, min(len(due), last)) - head
        another = last < len(due) and last < head + most and due[last] <= now
        sizes = [p // size for p in preferred if p % size == 0 and p <= batcher.max_batch]
        largest = sizes[-1] if sizes else most
        deadline = due[head] + batcher.queue_delay_s
        ready = max((p for p in sizes if p <= there), default=0)
        if now >= deadline:  # without a delay always: whatever a preferred size leaves follows at once
            return now, ready if ready and not batcher.queue_delay_s else there
        if ready:
            return now, ready
        if another or there >= largest:
            return now, there
        return self._grown(head, there, min(last, len(due)), now, deadline, sizes, largest)

    def _grown(
        self, head: int, there: int, end: int, now: float, deadline: float, sizes: Sequence[int], largest: int
    ) -> tuple[float, int]:
        """A batch of `there` requests grows until the next size that goes at once, until one of another kind
        comes, or until its time is over."""
        due = self.due
        goal = next((p for p in sizes if p > there), largest)
        if head + goal <= end and due[head + goal - 1] <= deadline:
            return max(now, due[head + goal - 1]), goal
        count = bisect_right(due, deadline, head, end) - head
        stops = head + count
        if (
            self.kinds
            and stops < len(due)
            and due[stops] <= deadline
            and self.kinds[stops] != self.kinds[head]
        ):
            return max(now, due[stops]), count
        return deadline, count


def completions(due_s: Seconds, batcher: Batcher, service: Callable[[int], float]) -> Seconds:
    """When each request of one kind is answered, in seconds on the clock of `due_s`.

    `due_s`: when each arrives, ascending; `service` draws the seconds for a batch of so many inferences.
    Raises ValueError for a request that is larger than a batch may be.
    """
    station = Station(batcher, lambda _, inferences: service(inferences))
    station.take(due_s)
    station.advance(math.inf)
    return np.array(station.done)
