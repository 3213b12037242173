"""The base of every load shape.

A shape is a record of its own keys. It stands in a scenario under `load:` by its `key`, which is the tag; a
shape whose only field is named as its key is written as that field's value:

    load: {rate_per_s: 50, arrivals: poisson}
    load: {ramp: {from_per_s: 10, to_per_s: 90}}

It is either a closed loop, and says its `users`, or an open one, and says by its `profile` what to send when.
Everything else of harness asks the shape and knows none. An installed package adds one as an entry point of
the group `harness.load_shapes`, by the name of its key (docs/load.md has an example).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from harness.schema.frozen import Frozen
from harness.schema.shapes.profile import Profile


class LoadShape(Frozen, ABC):
    """One shape of load with each of its values fixed. Its fields' types and validators are its checks."""

    key: ClassVar[str]
    varied: ClassVar[tuple[str, ...]] = ()
    """The fields that a scenario may give as a list, one point for each value."""
    files: ClassVar[tuple[str, ...]] = ()
    """The fields that name a file of the scenario's folder."""
    spaced: ClassVar[bool] = True
    """Whether `load.arrivals` says how its requests are spaced, as it does for a rate over time."""
    steady_by_design: ClassVar[bool] = False
    """Whether it asks for the same at any time, so that a point can go on for longer."""

    @property
    @abstractmethod
    def label(self) -> str:
        """In a reader's words, without the spacing: "concurrency 8", "ramp 5 to 80/s", …"""

    @property
    def short_label(self) -> str | None:
        """For a mark in a chart; None: the whole label."""
        return None

    @property
    def users(self) -> int | None:
        """The users of a closed loop, each of which waits for its answer; None for an open loop."""
        return None

    @property
    def nominal_rate_per_s(self) -> float | None:
        """The one rate of an open loop; None where it has none."""
        return None

    @property
    def size(self) -> float | None:
        """What loads are put in order by: users or rate; None where no one number says it."""
        return self.nominal_rate_per_s if self.users is None else self.users

    def profile(self, duration_s: float) -> Profile:
        """What an open loop sends in a phase of this length. The same values give the same profile.

        Raises ValueError for a closed loop, and InputError for values that make no load.
        """
        raise ValueError(f"a closed loop ({self.label}) has no schedule of {duration_s:g} s")

    @classmethod
    def is_plain(cls) -> bool:
        """Whether it is written as the value of its only field."""
        return set(cls.model_fields) == {cls.key}

    @classmethod
    def path(cls, name: str) -> str:
        """Where a field stands in a scenario, dotted."""
        return f"load.{cls.key}" if cls.is_plain() else f"load.{cls.key}.{name}"
