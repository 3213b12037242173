"""How long the sequences of a request class are."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.schema.frozen import Frozen

LENGTH, VARIATION = 20, 0.2
"""Where the class doesn't say it: perf_analyzer's own."""


class SequenceLength(Frozen):
    """`sequence:` of a request class: its requests are steps of sequences, as a sequence batcher takes
    them."""

    length: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Steps of a sequence. Left out: as many as its stream of `data` has, else 20."""
    variation: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Each is up to this share shorter or longer, every length as likely. Left out: 0.2; 0 where a stream of
    `data` says the length."""

    def between(self) -> tuple[int, int] | None:
        """The shortest and the longest; None where a stream of data says it."""
        length, variation = self.length or LENGTH, VARIATION if self.variation is None else self.variation
        return max(1, round(length * (1 - variation))), max(1, round(length * (1 + variation)))
