"""Names for the axes of an ONNX file's inputs, and whether the first of them is a batch of Triton's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.model.signature import BATCH
from harness.schema.axis_sizes import computed, names, renamed

Declared = Mapping[str, Sequence[int | str]]
"""By input: the size of each axis, or its symbol, "" where it has none."""

TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")

_BATCHES = ("batch", "batch_size", "batchsize", "bs", "b", "n")
"""How exporters call a batch, where that isn't plain from its place."""


def why_alone(declared: Declared) -> str | None:
    """Why Triton can't make one batch of several requests, in words; None where it may."""
    for name, axes in declared.items():
        if not axes:
            return f"input {name!r} is a single number"
        if isinstance(axes[0], int):
            return f"the first axis of input {name!r} is fixed to {axes[0]}"
        if computed(axes[0]):
            return f"the first axis of input {name!r} is {axes[0]!r}"
    if (other := _not_first(declared)) is not None:
        return f"the batch is not the first axis of input {other!r}"
    return None


def named(declared: Declared) -> dict[str, tuple[int | str, ...]]:
    """The axes of each input, with names that a scenario can write.

    The two last axes of an image are `height` and `width`, those of the usual text inputs `tokens`; others
    keep their name where a scenario could write it, else they become `<input>_axis<i>`. The same symbol gets
    the same name in every input. What is computed of other axes is said by an expression of their names.
    """
    symbols = {axis for axes in declared.values() for axis in axes if isinstance(axis, str)}
    batches = _batch_symbols(declared)
    known: dict[str, str] = {}

    def depends(axis: int | str) -> bool:
        return computed(axis) and set(names(axis)) <= symbols

    made: dict[str, list[int | str]] = {}
    for name, axes in declared.items():
        made[name] = [
            axis if isinstance(axis, int) or depends(axis) else _named(name, axes, place, batches, known)
            for place, axis in enumerate(axes)
        ]
    known |= dict.fromkeys(batches, BATCH)
    return {
        name: tuple(renamed(str(axis), known) if depends(axis) else axis for axis in axes)
        for name, axes in made.items()
    }


def _named(name: str, axes: Sequence[int | str], place: int, batches: set[str], known: dict[str, str]) -> str:
    symbol = str(axes[place])
    if (place == 0 and symbol in batches) or (symbol in batches and axes[0] not in batches):
        return BATCH
    usable = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,40}", symbol) and symbol != BATCH
    if name in TOKEN_INPUTS and len(axes) == 2:
        chosen = "tokens"
    elif len(axes) == 4 and isinstance(axes[1], int) and axes[1] <= 4 and place >= 2:
        chosen = ("height", "width")[place - 2]
    elif not usable:
        chosen = f"{re.sub(r'[^A-Za-z0-9_-]', '_', name).strip('_-') or 'input'}_axis{place}"
    else:
        chosen = symbol
    return known.setdefault(symbol, chosen) if symbol.strip("?-1") else chosen


def _batch_symbols(declared: Declared) -> set[str]:
    """What the batch is called: of axes that come first; where one of them is elsewhere too, by its name."""
    first = {axes[0] for axes in declared.values() if axes and isinstance(axes[0], str)}
    first = {symbol for symbol in first if not computed(symbol)}
    if _not_first(declared) is None:
        return first
    return {symbol for symbol in _every(declared) if symbol.lower() in _BATCHES}


def _not_first(declared: Declared) -> str | None:
    """An input in which another's first axis comes later, as in [tokens, batch, width] beside [batch]."""
    for name, axes in declared.items():
        for other, theirs in declared.items():
            first = theirs[0] if theirs else ""
            if other != name and isinstance(first, str) and first and first in axes[1:] and axes[0] != first:
                return name
    return None


def _every(declared: Declared) -> set[str]:
    return {axis for axes in declared.values() for axis in axes if isinstance(axis, str) and axis}
