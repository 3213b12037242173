"""A run's folder says which points it has: those of a list, or those that a caller began one by one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.commands import report
from harness.commands.progress import Progress
from harness.commands.resumable import resumable
from harness.schema.errors import InputError
from harness.schema.expansion import expand
from harness.schema.point import Point
from harness.schema.result import RunResult
from harness.store.run_folder import RunFolder, latest_unfinished, open_run
from tests.analysis.samples import point
from tests.store.finished import SCENARIO, begun_run, finish, finished_run

QUIET = Progress(quiet=True)

THREE = SCENARIO.replace("rate_per_s: 100", "rate_per_s: [400, 100, 200]")
CLASSES = [{"name": "short", "tokens": 16}, {"name": "long", "tokens": 128}]


def at_rate(rate_per_s: float) -> Point:
    return point(requests=CLASSES, load={"rate_per_s": rate_per_s})


def listed(folder: RunFolder) -> tuple[Point, ...]:
    return expand(folder.read_scenario().scenario)


def edited(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rates(result: RunResult) -> list[float | None]:
    return [each.point.load.shape.nominal_rate_per_s for each in result.points]


def test_points_that_a_caller_chose_one_after_another_are_reported(tmp_path: Path) -> None:
    folder = begun_run(tmp_path, one_after_another=True)
    rate_per_s, chosen = 100.0, []
    for _ in range(3):  # the next point depends on what the last one gave
        found = finish(folder, at_rate(rate_per_s), requests=400)
        chosen.append(rate_per_s)
        assert found.throughput_requests_per_s is not None
        rate_per_s = round(rate_per_s / 3 + found.throughput_requests_per_s % 50, 3)
        going_on = report.collect(folder, {})
        assert (rates(going_on), going_on.finished_at) == (chosen, None)
        assert going_on.planned == tuple(each.id for each in going_on.points)
    assert len(set(chosen)) == 3 and chosen != sorted(chosen), "in no order but that in which they began"
    folder.begin_point(at_rate(9.0))
    folder.end()
    done = subprocess.run(
        [sys.executable, "-m", "harness", "report", str(folder.path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if "/s constant" in line and "|" in line]
    assert [row.split("/s")[0] for row in rows] == [f"{rate:g}" for rate in chosen]
    result = RunResult.model_validate_json((folder.path / "result.json").read_text())
    assert rates(result) == chosen and result.finished_at is not None
    page = (folder.path / "report.html").read_text()
    assert all(each.id in page for each in result.points) and "not complete" not in page


def test_a_run_is_reported_whose_scenario_this_version_does_not_understand(tmp_path: Path) -> None:
    folder = finished_run(tmp_path)
    before = report.rebuild(folder.path, QUIET)
    stored = json.loads((folder.path / "scenario.json").read_text())["scenario"]
    stored["a_key_of_tomorrow"] = stored.pop("load")
    edited(folder.path / "scenario.json", scenario=stored)
    assert report.rebuild(folder.path, QUIET) == before
    with pytest.raises(InputError, match="this harness doesn't understand the scenario in it"):
        folder.read_scenario()


def test_the_table_has_the_order_of_the_plan_whatever_was_measured_when(tmp_path: Path) -> None:
    folder = begun_run(tmp_path, THREE)
    for each in listed(folder)[:2]:
        finish(folder, each, requests=60)
    result = report.collect(folder, {})
    assert (rates(result), len(result.planned), result.finished_at) == ([400, 100], 3, None)
    finish(folder, listed(folder)[2], requests=60)
    shutil.rmtree(folder.point(listed(folder)[0].id))
    assert rates(report.collect(folder, {})) == [100, 200]
    finish(folder, listed(folder)[0], requests=60)
    result = report.collect(folder, {})
    assert rates(result) == [400, 100, 200] and result.finished_at is not None
    assert result.planned == tuple(each.id for each in listed(folder))


def test_an_attempt_that_was_set_aside_is_no_point_and_the_next_one_has_its_place(tmp_path: Path) -> None:
    folder = begun_run(tmp_path, one_after_another=True)
    first, second = at_rate(50), at_rate(20)
    folder.begin_point(first)
    finish(folder, second, requests=60)
    finish(folder, first, requests=60)
    assert (folder.path / "points" / f"{first.id}.unfinished-1" / "point.json").exists()
    assert folder.points().begun == (first, second)


def test_a_point_of_another_folder_is_refused(tmp_path: Path) -> None:
    folder = finished_run(tmp_path)
    (only,) = folder.points().begun
    folder.point(only.id).rename(folder.path / "points" / "other")
    with pytest.raises(InputError, match=r"other/point\.json is damaged \(it is of the point "):
        report.rebuild(folder.path, QUIET)


@pytest.mark.parametrize("name", ["run.json", "point.json"])
def test_a_file_of_a_later_version_is_refused(tmp_path: Path, name: str) -> None:
    folder = finished_run(tmp_path)
    (file,) = folder.path.rglob(name)
    assert json.loads(file.read_text())["schema_version"] == 2
    edited(file, schema_version=3)
    with pytest.raises(InputError, match=f"{name} has format 3, and this harness reads up to 2"):
        report.rebuild(folder.path, QUIET)


def test_a_point_without_any_load_is_none(tmp_path: Path) -> None:
    folder = finished_run(tmp_path)
    before = report.collect(folder, {})
    (file,) = folder.path.rglob("point.json")
    stored = json.loads(file.read_text())
    edited(file, point=stored["point"] | {"load": {"workers": 1}})
    found = report.collect(folder, {})
    assert found.points == before.points and "point.json is damaged" in found.faults[0]


def resumed(tmp_path: Path, what: Path) -> tuple[Point, ...]:
    return resumable(what, tmp_path, QUIET)[1].points


def test_a_run_goes_on_where_folder_and_scenario_agree(tmp_path: Path) -> None:
    folder = begun_run(tmp_path, THREE)
    finish(folder, listed(folder)[0], requests=60)
    folder.begin_point(listed(folder)[1])
    assert resumed(tmp_path, folder.path) == listed(folder)
    assert latest_unfinished(tmp_path, None, QUIET.say) == folder


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("another point", "has points that its scenario doesn't list"),
        ("fewer planned", "was begun without points that its scenario lists"),
        ("another objective", "has points that its scenario describes otherwise"),
    ],
)
def test_a_run_does_not_go_on_where_folder_and_scenario_disagree(
    tmp_path: Path, what: str, sentence: str
) -> None:
    folder = begun_run(tmp_path, THREE)
    finish(folder, listed(folder)[0], requests=60)
    named = listed(folder)[0].id
    if what == "another point":
        folder.begin_point(at_rate(77))
        named = at_rate(77).id
    elif what == "fewer planned":
        edited(folder.path / "run.json", planned=[each.id for each in listed(folder)[:2]])
        named = listed(folder)[2].id
    else:
        file = folder.point(named) / "point.json"
        stored = json.loads(file.read_text())
        edited(file, point=stored["point"] | {"objective": {"p99_ms": 1.0}})
    with pytest.raises(InputError, match=rf"{sentence} \(of 1 the first is {named}\): finish it"):
        resumed(tmp_path, folder.path)


def test_a_run_whose_points_were_chosen_is_not_gone_on_with(tmp_path: Path) -> None:
    listed_one = begun_run(tmp_path, THREE)
    chosen = begun_run(tmp_path, one_after_another=True)
    finish(chosen, at_rate(5), requests=60)
    with pytest.raises(
        InputError, match="were chosen one after another, so no scenario lists what is missing"
    ):
        resumed(tmp_path, chosen.path)
    assert latest_unfinished(tmp_path, None, QUIET.say) == listed_one
    assert open_run(chosen.path).points().planned is None
