"""What a model that a server has may be asked for, where all that is known of it are names, types and
dimensions: sizes for what it leaves open, and values that are most likely valid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.schema.point import AXES, PointClass
from harness.schema.scenario import Range
from harness.schema.sequence_length import SequenceLength
from harness.schema.served_model import ServedModel, ServedTensor

NAME = "random"
"""Of the request class."""


@dataclass(frozen=True, slots=True)
class Guess:
    size: int
    """Of an axis that is left open."""
    below: int
    """Integers are from 0 to one less."""

    @property
    def image(self) -> int:
        """Of an axis that may be an image's."""
        return max(self.size, 224)


GUESSES = (Guess(16, 100), Guess(16, 2), Guess(1, 2), Guess(128, 2), Guess(512, 2))
"""In the order in which they are tried: ids of a vocabulary, then flags and indices that fit everywhere."""


def request_class(model: ServedModel, guess: Guess) -> PointClass:
    """One that fits the model, if the guess is right."""
    shapes = {tensor.name: shape_of(tensor) for tensor in sent(model) if -1 in tensor.dims}
    named = dict.fromkeys(axis for shape in shapes.values() for axis in shape if isinstance(axis, str))
    return PointClass(
        name=NAME,
        weight=1.0,
        batch=1,
        axes={axis: guess.image if axis in ("height", "width") else guess.size for axis in named},
        payload=None,
        folder=None,
        low=None,
        high=None,
        ranges={tensor.name: Range(low=0, high=guess.below) for tensor in ranged(model)} or None,
        shapes=shapes or None,
        sequence=SequenceLength() if model.in_sequences else None,
    )


def sent(model: ServedModel) -> Iterator[ServedTensor]:
    """The inputs that a request must have."""
    return (tensor for tensor in model.inputs if not tensor.optional)


def ranged(model: ServedModel) -> Iterator[ServedTensor]:
    """Those of them whose values are made up in a range."""
    return (tensor for tensor in sent(model) if "INT" in tensor.datatype)


def shape_of(tensor: ServedTensor) -> tuple[int | str, ...]:
    """Its dimensions, with a name for each that is left open: alike ones of several inputs have the same."""
    open_ = [place for place, size in enumerate(tensor.dims) if size < 0]
    names: tuple[str, ...]
    if len(open_) == 1 and len(tensor.dims) == 1 and "INT" in tensor.datatype:
        names = ("tokens",)
    elif len(open_) == 2 and len(tensor.dims) == 3:
        names = ("height", "width")
    else:
        names = ("n", *(f"n{number}" for number in range(2, len(open_) + 1)))
    named = dict(zip(open_, names, strict=False))
    return tuple(named.get(place, size) for place, size in enumerate(tensor.dims))


def own_key(axis: str) -> bool:
    """Whether a request class has a key of this name, so that it doesn't stand under `axes`."""
    return axis in AXES
