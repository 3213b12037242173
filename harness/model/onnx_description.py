"""What an ONNX file doesn't say of itself, in a small YAML file beside it: `model.onnx.yaml`.

batch: false                        # each request is computed alone
axes:
  samples: {least: 400, most: 160000, multiple_of: 1}
inputs:
  mask: {axes: [batch, past + seq]} # names, sizes, or what follows from the others
  ids: {low: 0, high: 30522}        # low is valid, high isn't
  rate: {constant: 16000}
outputs:
  leave_out: [anchors]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from harness import yaml_file
from harness.model.own_files import has, own_file
from harness.schema.errors import InputError
from harness.schema.faults import explained
from harness.schema.frozen import Frozen
from harness.schema.quantities import MANY

_Size = Annotated[int, Field(ge=1, le=2**31)]


class Limits(Frozen):
    """The valid sizes of an axis."""

    least: _Size = 1
    most: _Size | None = None
    multiple_of: _Size = 1


class DescribedInput(Frozen):
    """One input: what its axes are called, and which values are valid."""

    axes: Annotated[tuple[_Size | Annotated[str, Field(min_length=1, max_length=100)], ...], MANY] | None = (
        None
    )
    low: float | None = None
    high: float | None = None
    constant: float | None = None
    """Every request sends this value."""

    @model_validator(mode="after")
    def _one_range(self) -> DescribedInput:
        if (self.low is None) != (self.high is None):
            raise ValueError("`low` and `high` go together")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"`low` ({self.low:g}) must be under `high` ({self.high:g})")
        if self.constant is not None and self.low is not None:
            raise ValueError("`constant` is one value, and `low` and `high` are a range: keep one of them")
        return self

    @property
    def range(self) -> tuple[float | None, float | None]:
        """Lowest valid value, and the first that isn't; equal for a constant."""
        return (self.low, self.high) if self.constant is None else (self.constant, self.constant)


class DescribedOutputs(Frozen):
    leave_out: tuple[str, ...] = ()


class Description(Frozen):
    """See the module."""

    batch: bool = True
    axes: dict[str, Limits] = Field(default_factory=dict)
    inputs: dict[str, DescribedInput] = Field(default_factory=dict)
    outputs: DescribedOutputs = DescribedOutputs()


def beside(path: Path) -> str:
    """Name of the file that may describe the ONNX file `path`, in the same folder."""
    return f"{path.name}.yaml"


def description(path: Path) -> Description:
    """What stands beside the ONNX file; nothing is said where there is no such file. Raises InputError."""
    if not has(path.parent, beside(path)):
        return Description()
    document = yaml_file.read(own_file(path.parent, beside(path)), "description")
    if not isinstance(document.data, dict):
        raise InputError(
            f"{document.name}:1: a description is a mapping of `batch`, `axes`, `inputs`, `outputs`"
        )
    try:
        return Description.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        first, *_ = explained(Description, document.data, error)
        line = document.line(first[0])
        raise InputError(f"{document.name}:{line}: {first[1]}") from None
