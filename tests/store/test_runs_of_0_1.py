"""Two runs that harness 0.1 measured (tests/data/runs_of_0_1): they are reported as then, and can go on.

Their paths, the host's name and the kernel's were changed; page, logs and load plans were left out.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.commands import report
from harness.commands.progress import Progress
from harness.commands.resumable import resumable
from harness.schema.errors import InputError
from harness.schema.result import RunResult
from harness.store.run_folder import RunFolder, latest_unfinished, open_run

RUNS = Path(__file__).parents[1] / "data" / "runs_of_0_1"
NAMES = ["wires", "server-died"]
ANSWERED = re.compile(r"result\.(answers\.|points\.\d+\.(workload|configuration)\.)")
"""What later versions say of each point and of the run, made of what was measured."""

QUIET = Progress(quiet=True)


@pytest.fixture
def received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Copies of both, for somebody who began neither."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    yield Path(shutil.copytree(RUNS, tmp_path / "results"))


def figures(value: Any, place: str = "result") -> Iterator[tuple[str, object]]:
    """Each number, id, verdict and null of a result by its place; sentences may be bettered since."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from figures(inside, f"{place}.{key}")
    elif isinstance(value, list):
        for number, inside in enumerate(value):
            yield from figures(inside, f"{place}.{number}")
    elif not isinstance(value, str) or place.endswith((".id", ".verdict", ".label", "_at", ".name")):
        yield place, pytest.approx(value, rel=1e-9) if isinstance(value, float) else value


def of(result: RunResult) -> dict[str, object]:
    return dict(figures(json.loads(result.model_dump_json(exclude={"schema_version"}))))


@pytest.mark.parametrize("name", NAMES)
def test_its_figures_are_those_that_it_was_made_with(received: Path, name: str) -> None:
    made = RunResult.model_validate_json((RUNS / name / "result.json").read_text())
    assert [each.verdict for each in made.points] == {
        "wires": ["valid", "valid"],
        "server-died": ["valid", "invalid"],
    }[name]
    rebuilt = report.rebuild(received / name, QUIET)
    then, now = of(made), of(rebuilt)
    added = now.keys() - then.keys()
    if name == "server-died":  # requests that failed are over every limit now
        late = [place for place in then if place.startswith("result.points.1.objective.0.")]
        assert [then.pop(place) for place in late] != [now[place] for place in late]
    assert len(then) > 300 and {place: now[place] for place in then} == then
    added = {place for place in added if not ANSWERED.match(place)}
    since = {place.rpartition(".")[0].rpartition(".")[2] for place in added}
    assert since == {"sample", "at_least", "more_s"}, "what can be said of a percentile that is open"
    (answer,) = rebuilt.answers
    good = [point.id for point in rebuilt.points if point.verdict == "valid"]
    assert answer.best in good or (answer.best is None and answer.why)
    assert (received / name / "report.html").stat().st_size > 100_000
    assert not list((received / name).rglob("point.json")), "to look at it is no reason to change it"


def unfinished(received: Path, name: str) -> tuple[RunFolder, str]:
    """The run as it was before its last point was finished, and that point's id."""
    folder = open_run(received / name)
    last = folder.points().begun[-1].id
    (folder.point(last) / "observed.json").unlink()
    return folder, last


@pytest.mark.parametrize("name", NAMES)
def test_an_unfinished_one_is_reported_as_far_as_it_is(received: Path, name: str) -> None:
    made = RunResult.model_validate_json((RUNS / name / "result.json").read_text())
    folder, last = unfinished(received, name)
    result = report.rebuild(folder.path, QUIET)
    assert (result.planned, result.finished_at) == (made.planned, None)
    assert [each.id for each in result.points] == [made.points[0].id] and last == made.points[1].id


@pytest.mark.parametrize("name", NAMES)
def test_it_goes_on_and_then_knows_its_points(received: Path, tmp_path: Path, name: str) -> None:
    folder, last = unfinished(received, name)
    before = report.rebuild(folder.path, QUIET)
    with pytest.raises(InputError, match=r"would use the model 'double\.onnx', .*give the scenario file"):
        resumable(folder.path, received, QUIET)
    assert not list(folder.path.rglob("point.json"))
    # Its user has the scenario file, where it was.
    mine = tmp_path / "mine" / f"{name}.yaml"
    mine.parent.mkdir()
    shutil.copy(folder.path / "scenario.yaml", mine)
    stored = json.loads((folder.path / "scenario.json").read_text())
    (folder.path / "scenario.json").write_text(json.dumps(stored | {"folder": str(mine.parent)}))
    assert latest_unfinished(received, mine, QUIET.say) == folder
    found, loaded = resumable(mine, received, QUIET)
    assert found == folder and tuple(each.id for each in loaded.points) == before.planned
    assert (folder.path / "run.json").exists() and len(list(folder.path.rglob("point.json"))) == 2
    assert folder.points() == (before.planned, loaded.points, ())
    again = resumable(mine, received, QUIET)
    assert again == (found, loaded), "as a run of today"
    assert report.rebuild(folder.path, QUIET) == before
    folder.begin_point(loaded.points[-1])
    assert folder.point(f"{last}.unfinished-1").exists()


def test_one_that_was_only_half_brought_up_to_date_still_is_one_of_0_1(received: Path) -> None:
    folder, _ = unfinished(received, "wires")
    before = report.rebuild(folder.path, QUIET)
    folder.bring_up_to_date()
    (folder.path / "run.json").unlink()
    (folder.point(before.planned[0]) / "point.json").unlink()
    assert report.rebuild(folder.path, QUIET) == before


def test_its_samples_can_be_had(received: Path) -> None:
    made = RunResult.model_validate_json((RUNS / "server-died" / "result.json").read_text())
    died = made.points[1]
    requests = harness.samples(received / "server-died", died.id)
    assert (len(requests), int((requests.status != "ok").sum())) == (died.requests, died.errors)
