"""Which points a run has: `run.json` says which are planned, `points/<id>/point.json` what each is.

Both say `schema_version` 2. A folder of harness 0.1 has neither (harness.store.run_folder_0_1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import ConfigDict, Field

from harness import atomic
from harness.schema.frozen import Frozen
from harness.schema.point import Point
from harness.store.record import not_ours, read_record

PointId = Annotated[str, Field(max_length=255)]


class RunPoints(NamedTuple):
    planned: tuple[str, ...] | None
    """The ids of all the run's points, in order; None while whoever begins them one after another may begin
    more."""
    begun: tuple[Point, ...]
    """In the order of the run's table. The measurement of some may not be finished."""


class _Run(Frozen):
    """`run.json`."""

    schema_version: Literal[2] = 2
    planned: tuple[PointId, ...] | None


class _Place(Frozen):
    """The part of `point.json` that is quickly read."""

    model_config = ConfigDict(extra="ignore")

    schema_version: Literal[2] = 2
    number: Annotated[int, Field(ge=1)]
    """The point's place in the run's table."""


class _BegunPoint(_Place):
    """`point.json`."""

    model_config = ConfigDict(extra="forbid")

    point: Point


def write_planned(run: Path, planned: Sequence[str] | None) -> None:
    """Write which points the run has, as in `RunPoints`. Raises HarnessError where it can't be written."""
    atomic.write_text(run / "run.json", _Run(planned=_tuple(planned)).model_dump_json(indent=1))


def has_planned(run: Path) -> bool:
    """Whether the folder says which points it has: one of harness 0.1 doesn't."""
    return (run / "run.json").exists()


def read_points(run: Path) -> RunPoints:
    """The run's points. Raises InputError where a file isn't one of ours."""
    begun = sorted(_begun(run), key=lambda one: (one.number, one.point.id))
    return RunPoints(_planned(run), tuple(one.point for one in begun))


def next_number(run: Path, point_id: str) -> int:
    """The place of a point that is about to begin: that in the plan, or that of an earlier attempt at it, or
    after all others."""
    planned = _planned(run) or ()
    if point_id in planned:
        return planned.index(point_id) + 1
    numbers = {file.parent.name: read_record(file, _Place.model_validate_json).number for file in _files(run)}
    return numbers.get(point_id, 1 + max([len(planned), *numbers.values()]))


def write_point(folder: Path, number: int, point: Point) -> None:
    """Write what is measured in a point's folder. Raises HarnessError where it can't be written."""
    begun = _BegunPoint(number=number, point=point)
    atomic.write_text(folder / "point.json", begun.model_dump_json(indent=1))


def _planned(run: Path) -> tuple[str, ...] | None:
    return read_record(run / "run.json", _Run.model_validate_json).planned if has_planned(run) else None


def _begun(run: Path) -> list[_BegunPoint]:
    """In no order. What a killed attempt left under another name is none of the run's points."""
    found = []
    for file in _files(run):
        begun = read_record(file, _BegunPoint.model_validate_json)
        if begun.point.id == file.parent.name:
            found.append(begun)
        elif not file.parent.name.startswith(f"{begun.point.id}.unfinished-"):
            raise not_ours(file)
    return found


def _files(run: Path) -> Iterator[Path]:
    return (run / "points").glob("*/point.json")


def _tuple(planned: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if planned is None else tuple(planned)
