"""Does the model say the same under load as it first did? Batches, instances and precision may change it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest

from harness.load.job import Job
from harness.load.kept_answers import LARGEST, Kept
from harness.load.wire.connection import Connection, NoDescriptors
from harness.model.comparison import difference
from harness.schema.errors import ServerError
from harness.schema.result import AnswerCheck
from harness.schema.samples import Status
from harness.schema.tensors import Tensors

ALONE_S, LONGEST_S = 0.1, 5.0
"""For so long payloads are asked for by themselves before a load, and the last of them may take so long."""

Payload = tuple[int, int]
"""Numbers of a request class, and of one of its variants."""


@dataclass(slots=True)
class FirstAnswers:
    """The first answer to each payload of a workload, with which all later ones are compared: those of the
    same point, and of the points after it.

    As many as there is time for are asked for alone, before there is a load: where all are batched, the first
    one under load is as wrong as the rest. Of the others it is the first under load.
    """

    tolerance: float
    """The largest error over the first answer's largest value that is accepted: as in the export's proof."""
    known: Mapping[Payload, Tensors] = field(default_factory=dict)
    """What must be answered, some of the outputs at least, where a file of the user's says it."""
    only_known: bool = False
    """Whether nothing else can be compared: what a step of a sequence answers depends on those before it."""
    _first: dict[Payload, Tensors] = field(default_factory=dict)
    _asked: bool = False

    def ask_alone(self, job: Job) -> None:
        """Ask for them, before the first load of the workload. A request that fails ends it: the load will
        tell why."""
        if self._asked or self.only_known or job.point.shared_memory != "none":
            return
        self._asked = True
        timeout_s = min(job.endpoint.timeout_s, LONGEST_S)
        connection = job.endpoint.model_copy(update={"timeout_s": timeout_s}).open()
        connection.keeps = LARGEST
        try:
            with suppress(ServerError, NoDescriptors):
                self.ask(_requests(job), connection)
        finally:
            connection.close()

    def ask(self, requests: Iterable[tuple[Payload, bytes]], connection: Connection) -> None:
        """Raises ServerError for an answer that can't be read."""
        end_s = time.monotonic() + ALONE_S
        for payload, request in requests:
            reply = connection.call(request, keep_body=True)
            if reply.status != Status.OK or reply.body is None:
                return
            self._first[payload] = connection.decode(reply)
            if time.monotonic() > end_s:
                return

    def compare(self, kept: Iterable[Kept], connection: Connection) -> AnswerCheck | None:
        """What came of it; None where no answer was one to a payload that had been answered before.

        `connection` only decodes.
        """
        compared = different = validated = wrong = 0
        worst = 0.0
        for answer in kept:
            try:
                found = connection.decode(answer.reply)
            except ServerError:
                continue  # for another gate to tell: nothing was computed wrong
            payload = answer.request_class, answer.variant
            if (known := self.known.get(payload)) is not None:
                wanted, comparable = known, known.keys() <= found.keys()
            elif self.only_known:
                continue
            elif payload in self._first:
                wanted = self._first[payload]
                comparable = wanted.keys() == found.keys()
            else:
                self._first[payload] = found
                continue
            off = difference(found, wanted).relative if comparable else float("inf")
            off_limit = not off <= self.tolerance
            compared, different = compared + 1, different + off_limit
            if known is not None:
                validated, wrong = validated + 1, wrong + off_limit
            worst = max(worst, off)
        if not compared:
            return None
        return AnswerCheck(
            compared=compared,
            different=different,
            largest_error=worst if worst < float("inf") else None,
            tolerance=self.tolerance,
            validated=validated,
            wrong=wrong,
        )


def _requests(job: Job) -> Iterator[tuple[Payload, bytes]]:
    """One of each class, then another of each."""
    names = [kind.name for kind in job.point.requests]
    classes: list[Sequence[Tensors]] = [job.payloads[name] for name in names]
    for variant, row in enumerate(zip_longest(*classes)):
        for request_class, tensors in enumerate(row):
            if tensors is not None:
                yield (request_class, variant), job.prepared(names[request_class], tensors)
