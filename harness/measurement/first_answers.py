"""Does the model say the same under load as it first did? Batches, instances and precision may change it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.load.kept_answers import Kept
from harness.load.wire.connection import Connection
from harness.model.comparison import difference
from harness.schema.errors import ServerError
from harness.schema.result import AnswerCheck
from harness.schema.tensors import Tensors


@dataclass(slots=True)
class FirstAnswers:
    """The first answer to each payload of a workload, with which all later ones are compared: those of the
    same point, and of the points after it."""

    tolerance: float
    """The largest error over the first answer's largest value that is accepted: as in the export's proof."""
    _first: dict[tuple[int, int], Tensors] = field(default_factory=dict)

    def compare(self, kept: Iterable[Kept], connection: Connection) -> AnswerCheck | None:
        """What came of it; None where no answer was one to a payload that had been answered before.

        `connection` only decodes.
        """
        compared = different = 0
        worst = 0.0
        for answer in kept:
            try:
                found = connection.decode(answer.reply)
            except ServerError:
                continue  # for another gate to tell: nothing was computed wrong
            payload = answer.request_class, answer.variant
            if payload not in self._first:
                self._first[payload] = found
                continue
            first = self._first[payload]
            same_outputs = first.keys() == found.keys()
            off = difference(found, first).relative if same_outputs else float("inf")
            compared += 1
            different += not off <= self.tolerance
            worst = max(worst, off)
        if not compared:
            return None
        return AnswerCheck(
            compared=compared,
            different=different,
            largest_error=worst if worst < float("inf") else None,
            tolerance=self.tolerance,
        )
