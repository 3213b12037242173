"""Arms that take turns: what is compared gets the same load, now one and now another.

A machine that is slower for a while is so for all of them, so that what they differ by is theirs: two equal
models, asked in turns, differed by 0.5% where the machine moved by 7%.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from harness.schema.frozen import Frozen

_AT_ONCE = 1 << 10
"""Rounds whose order is drawn together, so that a longer load begins with a shorter one's order."""


class Turns(Frozen):
    """How arms follow each other. In each round each of them has one turn, in an order that is drawn."""

    arms: Annotated[int, Field(ge=2, le=8)]
    seed: Annotated[int, Field(ge=0)]
    block_s: Annotated[float, Field(gt=0, le=1e6)] | None
    """How long a turn is; None: a request."""
    gap_s: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """After each block nothing is sent for so long."""

    @property
    def round_s(self) -> float:
        """A turn of each, with its gap. There must be blocks."""
        assert self.block_s is not None
        return self.arms * (self.block_s + self.gap_s)

    def within(self, seconds: float) -> Turns:
        """The same with blocks that are as long as fills a phase with whole rounds, one at least."""
        if self.block_s is None:
            return self
        rounds = max(1, round(seconds / self.round_s))
        return self.model_copy(update={"block_s": max(seconds / rounds / self.arms - self.gap_s, 1e-3)})

    def on_s(self, seconds: float) -> float:
        """How much of a phase each arm has for itself."""
        if self.block_s is None:
            return seconds / self.arms
        return max(1, round(seconds / self.round_s)) * self.block_s

    def order(self) -> Iterator[int]:
        """The arms in their turns, endlessly."""
        rng = np.random.default_rng([self.seed, 2])
        while True:
            yield from rng.permuted(np.tile(np.arange(self.arms), (_AT_ONCE, 1)), axis=1).ravel().tolist()

    def arm_at(self, offset_s: float) -> int:
        """Whose block a time is in, from the phase's start; that of a gap is its block's."""
        assert self.block_s is not None
        turn = max(0, int(offset_s / (self.block_s + self.gap_s)))
        return self._sequence[turn % len(self._sequence)]

    def own(self, arm: int, offset_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """For times in the blocks of one arm, from the phase's start: when they are on a clock that stands
        still while it isn't that arm's turn."""
        assert self.block_s is not None
        round_ = (offset_s / self.round_s).astype(np.int64)
        return offset_s - self._begin_s(arm, round_) + round_ * self.block_s

    def of_phase(self, arm: int, own_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The inverse of `own`."""
        assert self.block_s is not None
        round_ = (own_s / self.block_s).astype(np.int64)
        return own_s - round_ * self.block_s + self._begin_s(arm, round_)

    def _begin_s(self, arm: int, round_: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """When the arm's block of a round begins."""
        assert self.block_s is not None
        place = self._places[round_ % len(self._places), arm]
        begin_s: npt.NDArray[np.float64] = (round_ * self.arms + place) * (self.block_s + self.gap_s)
        return begin_s

    @cached_property
    def _sequence(self) -> list[int]:
        """The arms in their turns. After so many blocks the order begins anew."""
        return list(islice(self.order(), _AT_ONCE * self.arms))

    @cached_property
    def _places(self) -> npt.NDArray[np.int64]:
        """(rounds, arms): which place an arm has in a round."""
        return np.array(self._sequence).reshape(-1, self.arms).argsort(axis=1)
