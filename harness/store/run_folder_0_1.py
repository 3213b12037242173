"""Run folders of harness 0.1, which don't say what their points are: only for them a scenario is expanded.

They have neither `run.json` nor a `point.json`. A run that goes on gets both (`bring_up_to_date`).
"""

from __future__ import annotations

from pathlib import Path

from harness.schema.point import Point, expand
from harness.schema.scenario import Scenario
from harness.store.run_points import RunPoints, write_planned, write_point


def points_of(run: Path, scenario: Scenario) -> RunPoints:
    """The points of a run that harness 0.1 began with `scenario`."""
    planned = expand(scenario)
    return RunPoints(tuple(point.id for point in planned), tuple(_begun(run, planned)))


def bring_up_to_date(run: Path, scenario: Scenario) -> None:
    """Write into the folder what a run of today has from its beginning. `run.json` comes last: a folder with
    only some of the files still is one of harness 0.1."""
    planned = expand(scenario)
    begun = _begun(run, planned)
    for number, point in enumerate(planned, start=1):
        if point in begun:
            write_point(run / "points" / point.id, number, point)
    write_planned(run, [point.id for point in planned])


def _begun(run: Path, planned: tuple[Point, ...]) -> list[Point]:
    return [point for point in planned if (run / "points" / point.id).is_dir()]
