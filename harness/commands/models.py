"""`harness models`: what ships with harness."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from harness.console import TerminalConsole, cells
from harness.model.catalog import CATALOG
from harness.model.check import suited_payload
from harness.schema.frozen import Frozen


class ListedModel(Frozen):
    name: str
    source: str
    inputs: tuple[str, ...]
    """What a request class must size: the dynamic axes, with their valid range in words."""
    payload: str
    """What its requests are filled with unless the scenario says otherwise."""
    note: str | None


class ListedModels(Frozen):
    models: tuple[ListedModel, ...]


def listed() -> ListedModels:
    """The catalog, without downloading anything."""
    models = []
    for name, source in CATALOG.items():
        signature = source.signature()
        axes = tuple(f"{axis} ({signature.axis(axis).words})" for axis in signature.dynamic)
        models.append(
            ListedModel(
                name=name,
                source=source.words,
                inputs=axes,
                payload=suited_payload(signature),
                note=source.note,
            )
        )
    return ListedModels(models=tuple(models))


def show(models: ListedModels) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "a request class sizes", "payload", "what it is"):
        table.add_column(heading, overflow="fold")
    for model in models.models:
        note = f"; {model.note}" if model.note else ""
        name, payload, source = cells([model.name, model.payload, model.source + note])
        axes = Text("\n").join(cells(model.inputs or ["nothing: fixed shape"]))
        table.add_row(name, axes, payload, source)
    TerminalConsole().print(table)
