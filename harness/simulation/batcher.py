"""Triton's dynamic batcher in front of the instances of one model, as a discrete-event simulation.

The rules are those of Triton's `DynamicBatchScheduler` (triton-inference-server/core,
`src/dynamic_batch_scheduler.cc`): requests wait in one queue, first come first served; when an instance is
free, a batch is made of those that are at its head.

- A batch that can't grow any more, because `max_batch` is reached or the next request would exceed it, goes
  at once.
- A batch of a preferred size goes at once, the largest that those in the queue make up.
- Any other waits for more until its oldest request is `queue_delay_s` old, and then goes as it is. Without a
  delay it doesn't wait.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]

Service = Callable[[int], float]
"""Draws the seconds that an instance takes for a batch of so many inferences."""


@dataclass(frozen=True, slots=True)
class Batcher:
    """One configuration of a model in Triton."""

    max_batch: int = 1
    queue_delay_s: float = 0.0
    instances: int = 1
    preferred: Sequence[int] = ()
    """Preferred batch sizes, ascending."""


def completions(due_s: Seconds, batcher: Batcher, service: Service, *, size: int = 1) -> Seconds:
    """When each request is answered, in seconds on the clock of `due_s`.

    `due_s`: when each arrives, ascending; `size`: inferences in each. Raises ValueError for a request that
    is larger than a batch may be.
    """
    if size > batcher.max_batch:
        raise ValueError(f"a request of {size} is larger than max_batch, {batcher.max_batch}")
    most = batcher.max_batch // size
    """Requests in the largest batch."""
    sizes = [p // size for p in batcher.preferred if p % size == 0 and p <= batcher.max_batch]
    largest = sizes[-1] if sizes else most
    due: list[float] = due_s.tolist()
    n, delay = len(due), batcher.queue_delay_s
    done = np.empty(n)
    free = [0.0] * batcher.instances if n else []
    at_once = delay == 0 and not sizes
    head = arrived = 0
    while head < n:
        now, first = heapq.heappop(free), due[head]
        now = now if now > first else first
        while arrived < n and due[arrived] <= now:
            arrived += 1
        if at_once:
            begin, count = now, min(arrived - head, most)
        else:
            begin, count = _next(due, head, arrived, now, delay, most, largest, sizes)
            arrived = max(arrived, head + count)
        end = begin + service(count * size)
        done[head : head + count] = end
        head += count
        heapq.heappush(free, end)
    return done


def _next(
    due: Sequence[float],
    head: int,
    arrived: int,
    now: float,
    delay: float,
    most: int,
    largest: int,
    preferred: Sequence[int],
) -> tuple[float, int]:
    """When the next batch begins, not before `now`, and how many requests it has."""
    waiting = arrived - head
    if waiting >= most and not preferred:
        return now, most
    deadline = due[head] + delay
    if now >= deadline:  # without a delay always: whatever a preferred size leaves follows at once
        fits = [p for p in preferred if p <= waiting] if delay == 0 else []
        return now, fits[-1] if fits else min(waiting, most)
    ready = [p for p in preferred if p <= waiting]
    if ready:
        return now, ready[-1]
    if waiting >= largest:
        return now, min(waiting, most)
    # It grows until the next size that goes at once, or until its time is over.
    goal = next((p for p in preferred if p > waiting), largest)
    last = head + goal - 1
    if last < len(due) and due[last] <= deadline:
        return max(now, due[last]), goal
    count = waiting
    while head + count < len(due) and due[head + count] <= deadline:
        count += 1
    return deadline, min(count, most)
