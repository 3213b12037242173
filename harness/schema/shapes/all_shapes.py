"""Every shape that is known here: harness's own, then those that installed packages add."""

from __future__ import annotations

from typing import Any

from harness.extensions import sound_extensions
from harness.schema.shapes.concurrency import Concurrency
from harness.schema.shapes.ramp import Ramp
from harness.schema.shapes.rate import Rate
from harness.schema.shapes.replay import Replay
from harness.schema.shapes.shape import LoadShape
from harness.schema.shapes.spike import Spike

Shape = type[LoadShape]

_OWN: tuple[Shape, ...] = (Concurrency, Rate, Ramp, Spike, Replay)
_TAKEN = frozenset({"arrivals", "cv", "workers", "shape", "given", *(shape.key for shape in _OWN)})


def shapes() -> dict[str, Shape]:
    """By key. Raises InputError for an added one that can't be used."""
    return {shape.key: shape for shape in _OWN} | sound_extensions("load_shapes", _fault)


def _fault(name: str, added: Any) -> str | None:
    if not isinstance(added, type) or not issubclass(added, LoadShape):
        return "is no subclass of harness.schema.shapes.shape.LoadShape"
    if added.__abstractmethods__:
        return f"doesn't say its {', '.join(sorted(added.__abstractmethods__))}"
    if getattr(added, "key", None) != name:
        return "has another `key`"
    if name in _TAKEN or not name.isidentifier():
        return "needs another name: it is taken, or no plain word"
    if unknown := {*added.varied, *added.files} - set(added.model_fields):
        return f"names fields in `varied` or `files` that it hasn't: {', '.join(sorted(unknown))}"
    return None
