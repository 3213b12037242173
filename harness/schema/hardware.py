"""What a user says of hardware that is measured: its price and power. harness has none built in."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from harness.schema.frozen import Frozen

Text = Annotated[str, Field(min_length=1, max_length=100)]


class Hardware(Frozen):
    """One kind of hardware, as a replica runs on."""

    name: Text
    matches: Text | None = None
    """A part of the GPU's name, or of the CPU's where there is none, as results have it. Left out: `name`."""
    price_per_hour: Annotated[float, Field(ge=0, le=1e6)] | None = None
    """Of one replica, in `currency`."""
    power_w: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Of one replica under load, where none was measured."""


class HardwareFile(Frozen):
    """A hardware file."""

    currency: Annotated[str, Field(min_length=1, max_length=10)] = "USD"
    """What prices are in, as it is to be printed."""
    hardware: Annotated[tuple[Hardware, ...], Field(min_length=1, max_length=100)]

    def named(self, hardware_name: str) -> Hardware | None:
        """What the file says of the hardware that results call so."""
        for each in self.hardware:
            if (each.matches or each.name).casefold() in hardware_name.casefold():
                return each
        return None

    @model_validator(mode="after")
    def _named_once(self) -> HardwareFile:
        names = [each.name for each in self.hardware]
        for twice in [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two kinds of hardware are named {twice!r}")
        return self
