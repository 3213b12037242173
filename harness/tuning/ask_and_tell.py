"""What a race asks to be measured, and what it is told of it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.tuning.capacity import Rated


@dataclass(frozen=True, slots=True)
class Ask:
    """A measurement."""

    candidate: int
    rate_per_s: float | None
    """Open loop at this rate; None: a closed loop, by as many users as fill every batch of every instance."""
    seconds: float
    """Length of the measured phase."""
    why: str
    alone: bool = False
    """Of a closed loop: by a single user, whose requests wait for no other's."""


@dataclass(frozen=True, slots=True)
class Alone:
    """How long a request took the server that had no other."""

    batch: float
    """Inferences in it."""
    batch_s: float


@dataclass(frozen=True, slots=True)
class Served:
    """What a saturated configuration served, in requests a second."""

    rate_per_s: float
    error: float
    """Its standard error."""
    batch: float
    """Inferences in a batch, on average."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """The configuration served, and the measurement can't be used."""

    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The server refused the configuration, or ended."""

    why: str


@dataclass(frozen=True, slots=True)
class Barred:
    """The configuration served, past a constraint."""

    why: str


Told = Served | Alone | Rated | Unusable | Failed | Barred
