"""Which points a run has: `run.json` says which are planned, `points/<id>/point.json` what each is.

Both say `schema_version`, the number of the folder's format. Where one of them isn't whole, the run's
scenario says it, as in folders of harness 0.1, which have neither: it lists the same points each time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import ConfigDict, Field

from harness import atomic
from harness.plain_text import quoted
from harness.schema.errors import InputError
from harness.schema.frozen import Frozen
from harness.schema.point import Point
from harness.store import whole
from harness.store.record import FORMAT, read_record
from harness.store.whole import Absent, Lost, NotWhole, is_there

PointId = Annotated[str, Field(max_length=255)]


class RunPoints(NamedTuple):
    planned: tuple[str, ...] | None
    """The ids of all the run's points, in order; None while whoever begins them one after another may begin
    more."""
    begun: tuple[Point, ...]
    """In the order of the run's table. The measurement of some may not be finished."""
    faults: tuple[str, ...] = ()
    """What can't be used of the files that say so, and what follows from it."""


class _Run(Frozen):
    """`run.json`."""

    schema_version: Literal[2] = FORMAT
    planned: tuple[PointId, ...] | None


class _Place(Frozen):
    """The part of `point.json` that is quickly read."""

    model_config = ConfigDict(extra="ignore")

    schema_version: Literal[2] = FORMAT
    number: Annotated[int, Field(ge=1)]
    """The point's place in the run's table."""


class BegunPoint(_Place):
    """`point.json`."""

    model_config = ConfigDict(extra="forbid")

    point: Point


_SET_ASIDE = re.compile(r"\.unfinished-\d+$")


def write_planned(run: Path, planned: Sequence[str] | None) -> None:
    """Write which points the run has, as in `RunPoints`. Raises HarnessError where it can't be written."""
    listed = None if planned is None else tuple(planned)
    atomic.write_text(run / "run.json", _Run(planned=listed).model_dump_json(indent=1))


def read_planned(run: Path) -> tuple[str, ...] | None:
    """Which points the run has, as in `RunPoints`. Raises NotWhole where `run.json` doesn't say."""
    return read_record(run / "run.json", _Run.model_validate_json).planned


def read_points(run: Path, listed: Callable[[], Sequence[Point]], *, of_0_1: bool) -> RunPoints:
    """The run's points. `listed` gives those of its scenario, and is asked where a file doesn't say.

    Raises NotWhole where nothing says which points there are, and Later for a folder of a later harness.
    """
    faults: list[str] = []
    planned, known = _planned(run, listed, faults)
    begun: dict[str, BegunPoint] = {}
    for folder in _point_folders(run):
        try:
            begun[folder.name] = read_point(folder)
        except NotWhole as fault:
            known = _by_id(listed) if known is None else known
            if isinstance(fault, Absent) and not of_0_1 and not is_there(folder / "observed.json"):
                continue  # it was killed before anything began
            if folder.name in known:
                begun[folder.name] = known[folder.name]
                faults.append(f"{fault}; the point is taken as the run's scenario has it")
            else:
                faults.append(f"{fault}; what was measured there is left out")
    in_order = sorted(begun.values(), key=lambda one: (one.number, one.point.id))
    return RunPoints(planned, tuple(one.point for one in in_order), () if of_0_1 else tuple(faults))


def complete_points(run: Path, listed: Sequence[Point]) -> None:
    """Write what the files of a run don't say about its points, which its scenario lists.

    `run.json` comes last: a folder of harness 0.1 with only some of the files still is one of harness 0.1.
    """
    for number, point in enumerate(listed, start=1):
        folder = run / "points" / point.id
        if is_there(folder):
            try:
                read_point(folder)
            except Lost:
                write_point(folder, number, point)
    try:
        read_planned(run)
    except Lost:
        write_planned(run, [point.id for point in listed])


def set_aside(folder: Path) -> Path:
    """Where an earlier, killed attempt at the point of this folder is kept."""
    attempt = 1
    while (aside := folder.with_name(f"{folder.name}.unfinished-{attempt}")).exists():
        attempt += 1
    return aside


def read_point(folder: Path) -> BegunPoint:
    """What is measured in a point's folder. Raises NotWhole where its `point.json` doesn't say."""
    begun = read_record(folder / "point.json", BegunPoint.model_validate_json)
    if begun.point.id != folder.name:
        raise whole.damaged(folder / "point.json", f"it is of the point {quoted(begun.point.id, 100)}")
    return begun


def next_number(run: Path, point_id: str) -> int:
    """The place of a point that is about to begin: that in the plan, or that of an earlier attempt at it, or
    after all others."""
    try:
        planned = read_planned(run) or ()
    except Lost:
        planned = ()
    if point_id in planned:
        return planned.index(point_id) + 1
    numbers = _numbers(run)
    return numbers.get(point_id, 1 + max([len(planned), *numbers.values()]))


def write_point(folder: Path, number: int, point: Point) -> None:
    """Write what is measured in a point's folder. Raises HarnessError where it can't be written."""
    begun = BegunPoint(number=number, point=point)
    atomic.write_text(folder / "point.json", begun.model_dump_json(indent=1))


def _numbers(run: Path) -> Mapping[str, int]:
    files = (run / "points").glob("*/point.json")
    return {file.parent.name: read_record(file, _Place.model_validate_json).number for file in files}


def _planned(
    run: Path, listed: Callable[[], Sequence[Point]], faults: list[str]
) -> tuple[tuple[str, ...] | None, dict[str, BegunPoint] | None]:
    """The planned points by `run.json`, or by the scenario, and in that case also what they are."""
    try:
        return read_planned(run), None
    except NotWhole as fault:
        known = _by_id(listed)
        if not known and not any(folder for folder in _point_folders(run)):
            raise
        faults.append(f"{fault}; the run's points are taken as its scenario has them")
        return tuple(known) or None, known


def _by_id(listed: Callable[[], Sequence[Point]]) -> dict[str, BegunPoint]:
    """What the scenario lists; nothing where it doesn't say, either."""
    try:
        points = listed()
    except InputError:
        return {}
    return {point.id: BegunPoint(number=number, point=point) for number, point in enumerate(points, start=1)}


def _point_folders(run: Path) -> Iterator[Path]:
    """The folders in which points were begun, and not set aside since. Raises NotWhole where they can't be
    listed."""
    try:
        found = sorted((run / "points").iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise whole.unreadable(run / "points", error) from error
    yield from (folder for folder in found if not _SET_ASIDE.search(folder.name))
