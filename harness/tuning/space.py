"""The configurations among which the best is searched, and which of them are alike."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.schema.point import Setting

Features = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Space:
    """Configurations by number; each is a value for every setting that varies, by its dotted path."""

    configurations: Sequence[Mapping[str, Setting]]
    default: int | None = None
    """The one that has every setting at its default; None where none has."""

    @cached_property
    def features(self) -> Features:
        """[configurations, coordinates], as `coordinates` gives them for all settings."""
        return coordinates(self.configurations)

    def neighbours(self, of: int) -> tuple[int, ...]:
        """Those that differ from it in one setting, and there by one step of the values that there are."""
        here = self.configurations[of]
        steps = {path: self._values(path) for path in here}

        def close(other: Mapping[str, Setting]) -> bool:
            differing = [path for path in here if here[path] != other[path]]
            if len(differing) != 1:
                return False
            (path,) = differing
            values = steps[path]
            if isinstance(here[path], str | bool):
                return True
            return abs(values.index(here[path]) - values.index(other[path])) == 1

        return tuple(n for n, other in enumerate(self.configurations) if close(other))

    def _values(self, path: str) -> list[Setting]:
        values = dict.fromkeys(each[path] for each in self.configurations)
        return sorted(values, key=lambda v: (isinstance(v, str), v))


def coordinates(configurations: Sequence[Mapping[str, Setting]], without: Collection[str] = ()) -> Features:
    """[configurations, n]: places in which configurations that are alike are close, by all settings but some.

    A number's place is its logarithm, from 0 for the least to 1 for the largest (for 0 stands a tenth of the
    least of the others); each value of anything else has a coordinate of its own, and two of them are 1
    apart.
    """
    columns: list[Features] = []
    for path in configurations[0] if configurations else ():
        if path in without:
            continue
        values = [each[path] for each in configurations]
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            columns.append(_places([float(v) for v in values]))
        else:
            columns += [
                np.array([float(v == value) for v in values]) * math.sqrt(0.5)
                for value in dict.fromkeys(values)
            ]
    return np.stack(columns, axis=1) if columns else np.zeros((len(configurations), 1))


def _places(values: Sequence[float]) -> Features:
    positive = [v for v in values if v > 0]
    least = min(positive, default=1.0) / 10
    logs = np.log(np.maximum(values, least))
    span = float(logs.max() - logs.min())
    return (logs - logs.min()) / span if span > 0 else np.zeros(len(values))
