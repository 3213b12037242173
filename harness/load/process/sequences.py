"""To send sequences of requests: each step when the one before is answered, on one connection, to its end."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from time import monotonic_ns

import gevent
import numpy as np

from harness.load.kept_answers import KeptAnswers
from harness.load.load_plan import PlannedClass
from harness.load.process.loops import OpenLoop, Payloads, Record, rest
from harness.load.sequence_flags import END_ID, FIRST_ID, Places, as_step, places
from harness.load.wire import Connection, Reply
from harness.schema.samples import SequenceEnd, Status
from harness.schema.scenario import Protocol

Ended = Callable[[int, int, int, int, SequenceEnd], None]
"""Is given the class, how many steps were sent, when the first should have been, when the last was answered,
and how the sequence ended."""

_TOGETHER = 256
"""Sequences that are drawn at once."""
_ROOM = 1 << 48
"""Ids that a process may take one after the other."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sequence to be sent."""

    request_class: int
    variants: Sequence[int]
    """Of each step."""


def drawn(
    classes: Sequence[PlannedClass],
    seed: int,
    worker: int = 0,
    of: int = 1,
    *,
    weights: Sequence[float] | None = None,
) -> Iterator[Drawn]:
    """Endless: the class by weight, the length as it says, and what each step sends. Of so many processes
    each takes its own share of the same sequences. `weights` take the place of the classes' own."""
    share = np.array([each.weight for each in classes] if weights is None else weights)
    share /= share.sum()
    for block in count():
        # A generator of random numbers for each sequence would cost as much as a request: those of a block
        # come from one, whoever takes which.
        first = block * _TOGETHER
        rng = np.random.default_rng([seed, 2, block])
        chosen = rng.choice(len(classes), _TOGETHER, p=share).tolist()
        of_length, of_stream = rng.random((2, _TOGETHER)).tolist()
        for place in range((worker - first) % of, _TOGETHER, of):
            which = chosen[place]
            planned = classes[which].sequence
            assert planned is not None, "all classes have sequences, or none"
            length = None
            if planned.between is not None:
                shortest, longest = planned.between
                length = shortest + int(of_length[place] * (longest + 1 - shortest))
            if planned.streams:
                begin, steps = planned.streams[int(of_stream[place] * len(planned.streams))]
                variants = [begin + step % steps for step in range(length or steps)]
            else:
                assert length is not None, "no stream says it"
                own = np.random.default_rng([seed, 3, first + place])
                variants = own.integers(0, len(classes[which].requests), length).tolist()
            yield Drawn(which, variants)


def ids() -> Iterator[int]:
    """Ids that no other process is likely to take at the same time."""
    first = FIRST_ID + 1 + secrets.randbelow(END_ID - FIRST_ID - _ROOM)
    yield from range(first, first + _ROOM)


@dataclass(frozen=True, slots=True)
class Steps:
    """What a process sends sequences with."""

    payloads: Payloads
    where: Sequence[Sequence[Places]]
    drawn: Iterator[Drawn]
    ids: Iterator[int]
    record: Record
    ended: Ended
    kept: KeptAnswers

    @classmethod
    def of(
        cls,
        payloads: Payloads,
        protocol: Protocol,
        sequences: Iterator[Drawn],
        record: Record,
        ended: Ended,
        kept: KeptAnswers,
    ) -> Steps:
        where = [[places(protocol, request) for request in variants] for variants in payloads]
        return cls(payloads, where, sequences, ids(), record, ended, kept)

    def send(self, connection: Connection, intended_ns: int, goes_on: Callable[[int], bool]) -> Reply:
        """The next sequence, whose first step should have been sent then; its last reply. Where `goes_on`
        says of a step's time that nothing more is to be sent, that step is the last."""
        sequence, sequence_id = next(self.drawn), next(self.ids)
        kind, last = sequence.request_class, len(sequence.variants) - 1
        due_ns, how = intended_ns, SequenceEnd.WHOLE
        for step, variant in enumerate(sequence.variants):
            if step:
                due_ns = monotonic_ns()
                if step < last and not goes_on(due_ns):
                    how = SequenceEnd.CUT
            is_last = step == last or how is SequenceEnd.CUT
            request = as_step(
                self.payloads[kind][variant],
                self.where[kind][variant],
                sequence_id,
                first=step == 0,
                last=is_last,
            )
            reply = self._call(connection, request, kind, variant, due_ns)
            self.record(kind, due_ns, reply)
            if reply.status is not Status.OK:
                how = SequenceEnd.FAILED
                break
            if is_last:
                break
        self.ended(kind, step + 1, intended_ns, reply.completed_ns, how)
        return reply

    def _call(
        self, connection: Connection, request: bytearray, kind: int, variant: int, now_ns: int
    ) -> Reply:
        if now_ns < self.kept.due_ns:
            return connection.call(request)
        self.kept.wait(now_ns)
        reply = connection.call(request, True)
        self.kept.keep(kind, variant, reply)
        return reply


def closed_loop_of_sequences(
    connections: Sequence[Connection], steps: Sequence[Steps], order: Iterator[int], more: Callable[[], bool]
) -> None:
    """One sequence after the other, while `more()` says so; returns with nothing in flight. `connections` and
    `steps` are those of each replica, and `order` says which is next."""
    turn_ns = 0
    while more():
        to = next(order)
        connection = connections[to]
        reply = steps[to].send(connection, monotonic_ns(), lambda _: more())
        if reply.completed_ns > turn_ns or reply.reason is not None:
            turn_ns = rest(connection, reply)
            gevent.sleep(0)


class OpenLoopOfSequences(OpenLoop):
    """Sequences that begin at times fixed beforehand, whatever the server does."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        steps: Steps,
        timeout_s: float,
        goes_on: Callable[[int], bool],
        *,
        among: int = 1,
    ) -> None:
        """From the first step on for whose time `goes_on` is no longer true, a sequence sends nothing."""
        super().__init__(connect, repeat(steps.payloads), steps.record, timeout_s, steps.kept, among=among)
        self._steps, self._goes_on = steps, goes_on

    def _answer(
        self,
        connection: Connection,
        payloads: Payloads,  # noqa: ARG002 - the steps have their own
        item: tuple[int, int, int],
        now_ns: int,  # noqa: ARG002
    ) -> None:
        self._steps.send(connection, item[0], self._goes_on)

    def _given_up(self, item: tuple[int, int, int], reply: Reply) -> None:
        kind = next(self._steps.drawn).request_class
        self._record(kind, item[0], reply)
        self._steps.ended(kind, 0, item[0], reply.completed_ns, SequenceEnd.FAILED)
