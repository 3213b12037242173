"""What `harness ab --bisect` finds: the first commit whose build is worse."""

from __future__ import annotations

from typing import Literal

from harness.schema.ab_result import Moved
from harness.schema.frozen import Frozen

Judgement = Literal["good", "bad", "untold"]
"""Of a build beside the good one: passed or improved, regressed, or neither can be told."""

BisectOutcome = Literal["found", "narrowed", "not worse", "inconclusive"]
"""One commit; several, of which one is it; the last one isn't worse than the first; that can't be told."""


class Commit(Frozen):
    sha: str
    subject: str
    """The first line of its message."""


class Step(Frozen):
    """A commit whose build was judged."""

    commit: Commit
    judgement: Judgement
    why: str
    """In a sentence."""
    comparison: str | None
    """The folder of the comparison with the good one, in the search's; None where nothing was measured."""
    moved: tuple[Moved, ...] = ()
    """The parts of a request's time that are told to have moved, of its first point."""


class Bisection(Frozen):
    """`bisect.json`: whole after each step."""

    schema_version: Literal[1] = 1
    run_id: str
    path: str
    scenario: str
    started_at: str
    """UTC, ISO 8601."""
    finished_at: str | None
    """None of one that was cut off, or goes on."""
    harness_version: str
    good: Commit
    bad: Commit
    commits: int
    """From the first after the good one to the bad one, on the first parents' line."""
    steps: tuple[Step, ...]
    suspects: tuple[Commit, ...]
    """One of these is the first bad one; empty where the bad one isn't known to be worse."""
    outcome: BisectOutcome
