"""Numbers and names within the bounds that a scenario may ask for, and how many values a list of it has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

MOST_PER_S = 1_000_000

Microseconds = Annotated[int, Field(ge=0, le=10_000_000)]
Milliseconds = Annotated[float, Field(gt=0, le=86_400_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
RatePerS = Annotated[float, Field(gt=0, le=MOST_PER_S)]
Users = Annotated[int, Field(ge=1, le=4096)]
AxisSize = Annotated[int, Field(ge=1, le=100_000_000)]
MaxBatch = Annotated[int, Field(ge=1, le=4096)]
PreferredBatch = Annotated[int, Field(ge=0, le=4096)]
Instances = Annotated[int, Field(ge=1, le=64)]
Threads = Annotated[int, Field(ge=1, le=1024)]
GpuIndex = Annotated[int, Field(ge=0, le=255)]
PrecisionShare = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
SettingPath = Annotated[str, Field(min_length=1, max_length=200)]
FileName = Annotated[str, Field(min_length=1, max_length=1024)]
Arrivals = Literal["constant", "poisson", "gamma"]

MANY = Field(min_length=1, max_length=64)
"""How many values a list that is varied has."""
