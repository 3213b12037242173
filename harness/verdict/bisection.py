"""Which of several builds in a row is to be judged next, to find the first bad one. No I/O.

As `git bisect` does it (git-bisect(1)): the one in the middle of those that may be it. One that can't be
told, or can't be made, is left out, and the one nearest to it is asked in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.schema.bisect_result import Judgement


@dataclass
class Search:
    """The builds after the good one, by number; the last of them is bad."""

    count: int
    known: dict[int, Judgement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known[self.count - 1] = "bad"

    @property
    def _good(self) -> int:
        """The last one that is known to be good; -1 is the one before all."""
        return max((number for number, found in self.known.items() if found == "good"), default=-1)

    @property
    def suspects(self) -> Sequence[int]:
        """Those of which one is the first bad one. One alone is it."""
        good = self._good
        bad = min(number for number, found in self.known.items() if found == "bad" and number > good)
        return range(good + 1, bad + 1)

    def next(self) -> int | None:
        """The one to judge; None where nothing more can be told."""
        suspects = self.suspects
        open_ = [number for number in suspects[:-1] if number not in self.known]
        middle = suspects[0] + (len(suspects) - 1) / 2 - 0.5
        return min(open_, key=lambda number: abs(number - middle), default=None)

    def most(self) -> int:
        """So many are judged at most, where each can be told."""
        return (len(self.suspects) - 1).bit_length()
