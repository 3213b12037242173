"""Weights in a folder's files beside those of its model: what is missing, what has no place, what has another
size."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.plain_text import shown
from harness.schema.errors import InputError

_NAMED = 6

_UNUSED = "pooler."
"""Weights that the last hidden state is not made with; many a folder comes without them."""


def check_weights(folder: Path, model: Any, loaded: dict[str, Any]) -> tuple[str, ...]:
    """The parts in the files that the model has no place for: heads of another task. `loaded` is what
    transformers says of the loading.

    Raises InputError, naming them, for weights that the files lack (transformers draws them, each time
    others), for those of another shape, and for those within a part that the model has: config.json is then
    another model's.
    """
    own = list(model.state_dict())
    lacking = set(loaded["missing_keys"])
    if model.base_model is model:
        lacking = {name for name in lacking if not name.startswith(_UNUSED)}
    strange = sorted(loaded["unexpected_keys"])
    kind = type(model).__name__
    if wrong := sorted(loaded["mismatched_keys"]):
        name, found, wanted = wrong[0]
        more = f", and {len(wrong) - 1} more don't fit" if len(wrong) > 1 else ""
        raise InputError(
            f"the safetensors files of {folder} have {shown(name)} as {list(found)}, and by config.json "
            f"{kind} has it as {list(wanted)}{more}: correct config.json, or copy the model's folder again"
        )
    if lacking:
        parts = _parts(
            [name for name in own if name in lacking], [name for name in own if name not in lacking]
        )
        others = f"; they have others instead, {_said(_parts(strange, own))}" if strange else ""
        raise InputError(
            f"the safetensors files of {folder} lack {len(lacking)} of the model's weights, {_said(parts)}, "
            f"and harness makes none up{others}: {_remedy(model, own, lacking, strange)}"
        )
    within = [part for part in _parts(strange, own) if _inside(part, model)]
    if within:
        raise InputError(
            f"the safetensors files of {folder} have weights that {kind} has no place for by config.json, "
            f"{_said(within)}: correct config.json, or copy the model's folder again"
        )
    return tuple(shown(name) for name in _parts(strange, own))


def _remedy(model: Any, own: Collection[str], lacking: Collection[str], strange: list[str]) -> str:
    for name in strange[:1]:
        for prefix in _openings(name):
            rest = [n.removeprefix(f"{prefix}.") for n in strange if n.startswith(f"{prefix}.")]
            if rest and all(n in own or f"{_prefix(model)}{n}" in own for n in rest):
                return (
                    f"their names begin with {shown(prefix)!r}, of what the model was wrapped in: "
                    "`save_pretrained(folder)` the model inside"
                )
    if model.base_model is not model and not any(n.startswith(_prefix(model)) for n in lacking):
        return (
            "copy the model's folder again, with all its files, or correct `architectures` in config.json, "
            f"which names {type(model).__name__}"
        )
    return "copy the model's folder again, with all its files"


def _prefix(model: Any) -> str:
    """Of the names of the weights of its encoder, where it has a head beside it."""
    return "" if model.base_model is model else f"{model.base_model_prefix}."


def _inside(part: str, model: Any) -> bool:
    """Whether it belongs into a part of the encoder, and isn't a whole part beside them."""
    base = _prefix(model)
    return part.startswith(base) and "." in part.removeprefix(base)


def _parts(names: Iterable[str], present: Collection[str]) -> list[str]:
    """The largest parts in which nothing is present: `encoder.layer.1` for all of its weights."""
    taken = {opening for name in present for opening in _openings(name)}
    return list(dict.fromkeys(next((o for o in _openings(n) if o not in taken), n) for n in names))


def _openings(name: str) -> Iterator[str]:
    """`a`, `a.b` and `a.b.c`, of `a.b.c`."""
    at = name.find(".")
    while at > 0:
        yield name[:at]
        at = name.find(".", at + 1)
    yield name


def _said(parts: list[str]) -> str:
    more = f" and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
    return ", ".join(shown(part)[:100] for part in parts[:_NAMED]) + more
