"""Fuzz targets: each parser of what others send is given what nobody should send.

A target is an ordinary function of drawn arguments under `@fuzz(...)`. In the suite it runs for a few seconds
on the same examples each time; `make fuzz` runs each for a minute on examples that are new each time, and a
failure names the seed that makes them again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import hypothesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("HARNESS_FUZZ_S", "3"))
FIRST_SEED = int(os.environ.get("HARNESS_FUZZ_SEED", "0"))

_ROUND = settings(
    max_examples=100, deadline=None, database=None, print_blob=False, suppress_health_check=list(HealthCheck)
)


def fuzz(*drawn: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """A test that is given examples of `drawn`, a hundred a seed, until its time is over."""

    def decorated(target: Callable[..., None]) -> Callable[[], None]:
        def test() -> None:
            give_up = time.monotonic() + SECONDS
            seed = FIRST_SEED
            while seed == FIRST_SEED or time.monotonic() < give_up:
                try:
                    hypothesis.seed(seed)(_ROUND(given(*drawn)(target)))()
                except BaseException as error:
                    error.add_note(f"HARNESS_FUZZ_SEED={seed} makes this example again")
                    raise
                seed += 1

        # Not functools.wraps: pytest would take the target's parameters for fixtures.
        test.__name__, test.__doc__, test.__module__ = target.__name__, target.__doc__, target.__module__
        return test

    return decorated


@st.composite
def mutated(draw: st.DrawFn, *samples: bytes) -> bytes:
    """One of the samples with up to eight parts of it changed, cut out, repeated or put in; or any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    text = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(text)))
        to = draw(st.integers(at, min(len(text), at + 20)))
        put = draw(st.one_of(st.binary(max_size=8), st.just(text[at:to] * 2), st.sampled_from(samples)))
        text = text[:at] + put + text[to:]
    return text


def pieces(text: bytes, cuts: list[int]) -> list[bytes]:
    """`text` as it may arrive: in parts, cut where `cuts` say (each modulo its length)."""
    at = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(at)]
