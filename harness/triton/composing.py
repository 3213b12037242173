"""What the models did that a load worked: those that work for the measured one, of an ensemble or because a
Python model asks them, and those that request classes name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from harness.schema.errors import ServerError
from harness.schema.result import ComposingModel
from harness.schema.served_model import ServedModel
from harness.triton import as_loaded, statistics
from harness.triton.control import Control
from harness.triton.statistics import Statistics, difference


class Composing:
    """The counters of all models of a server, from one moment to another.

    Nobody says which models a Python model asks: they are those that worked meanwhile.
    """

    def __init__(self, control: Control, model: ServedModel) -> None:
        self._control, self._model = control, model
        self._before: Mapping[str, Statistics] = {}

    def begin(self) -> None:
        """Raises ServerError where the server doesn't tell."""
        self._before = statistics.of_all(self._control.all_statistics())

    def found(self) -> tuple[ComposingModel, ...]:
        """Since then; where classes ask several models, those. Raises ServerError where the server doesn't
        tell."""
        after = statistics.of_all(self._control.all_statistics())
        asked = tuple(dict.fromkeys(each.name for each in self._model.asked))
        others = tuple(sorted(after.keys() - set(asked)))
        if not self._model.beside:
            named = self._model.composing or others
        elif any(each.asks_others for each in self._model.asked):
            named = asked + others
        else:
            named = asked
        return tuple(self._worked(named, asked, after))

    def _worked(
        self, named: Sequence[str], asked: Sequence[str], after: Mapping[str, Statistics]
    ) -> Iterator[ComposingModel]:
        """Of `named`; one that isn't `asked` only where it did work."""
        for name in named:
            before, now = self._before.get(name), after.get(name)
            if before is None or now is None:
                continue
            if now.executions == before.executions and name not in asked:
                continue
            instances = None
            with suppress(ServerError):
                instances = as_loaded.settings_of(self._control.model_config(name)).instances
            yield ComposingModel(model=name, instances=instances, server=difference(before, now))
