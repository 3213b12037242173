"""A run's folder that has lost a file: a sentence of its own says so, and the rest is told all the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from markupsafe import escape

from harness.commands import report
from harness.commands.progress import Progress
from harness.commands.resumable import resumable
from harness.commands.run import _whole
from harness.report.environment import UNKNOWN
from harness.report.markdown import summary
from harness.report.page.page import page_html
from harness.schema.errors import HarnessError, InputError
from harness.schema.result import RunResult
from harness.store.run_folder import RunFolder, latest_unfinished, open_run
from tests.rights import modes_count
from tests.store.finished import SCENARIO, begun_run, finished_run

QUIET = Progress(quiet=True)
TWO = SCENARIO.replace("rate_per_s: 100", "rate_per_s: [100, 50]")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two points, reported once, so that every library is imported whatever the user may read later."""
    folder = finished_run(tmp_path_factory.mktemp("finished"), TWO, requests=60)
    report.rebuild(folder.path, QUIET)
    return folder.path


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return RunFolder(Path(shutil.copytree(finished, tmp_path / "results" / "run")))


def first_point(folder: RunFolder) -> Path:
    return folder.point(folder.points().begun[0].id)


def file_of(folder: RunFolder, name: str) -> Path:
    return first_point(folder) / name.removeprefix("P/") if name.startswith("P/") else folder.path / name


def told(folder: RunFolder) -> RunResult:
    with modes_count():
        return report.collect(open_run(folder.path), {})


FATES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (Path.unlink, "is missing: take it from a copy"),
    "empty": (
        lambda file: file.write_bytes(b""),
        "is damaged (it isn't as harness wrote it): take it from a copy",
    ),
    "cut": (
        lambda file: file.write_bytes(file.read_bytes()[:-7]),
        "is damaged (it isn't as harness wrote it)",
    ),
    "unreadable": (lambda file: file.chmod(0), "can't be read (Permission denied): give yourself the right"),
}
POINTS = ["P/point.json", "P/observed.json", "P/requests.parquet", "P/host.parquet", "P/gpu.parquet"]
RECORDS = ["scenario.json", "run.json", "model.json", "environment.json"]


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_is_not_whole_costs_no_more_than_itself(
    folder: RunFolder, name: str, fate: str
) -> None:
    before = report.collect(folder, {})
    assert before.faults == ()
    spoil, sentence = FATES[fate]
    spoil(file_of(folder, name))
    after = told(folder)
    (fault,) = after.faults
    assert f"/{name} {sentence}" in fault and "bug" not in fault
    assert after.points == before.points and after.planned == before.planned
    assert (after.model, after.environment, after.finished_at) == (
        (before.model, before.environment, before.finished_at)
    ), "result.json has them still"
    assert fault.split(" ")[0].split("/")[-1] in summary(after)


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("name", POINTS)
def test_a_file_of_a_point_that_is_not_whole_costs_at_most_that_point(
    folder: RunFolder, name: str, fate: str
) -> None:
    before, place = report.collect(folder, {}), first_point(folder)
    spoil, sentence = FATES[fate]
    spoil(file_of(folder, name))
    after = told(folder)
    (fault,) = after.faults
    assert f"{place}/{name.removeprefix('P/')} {sentence}" in fault
    assert after.points[-1] == before.points[1], "the other point is as it was"
    if name == "P/point.json":  # the scenario says it, too
        assert after.points == before.points and "as the run's scenario has it" in fault
    elif name in ("P/host.parquet", "P/gpu.parquet"):
        spoilt = after.points[0]
        assert spoilt.latency_s == before.points[0].latency_s and spoilt.verdict != "valid"
        assert fault in spoilt.reasons or before.points[0].verdict == "invalid"
        assert spoilt.host is not None
        assert (spoilt.host.server_cpu_cores is None) == (name == "P/host.parquet")
    else:
        assert len(after.points) == 1 and "is left out" in fault and after.finished_at is None
        assert (f"`harness run {folder.path} --resume` measures it again" in fault) == (fate != "unreadable")


@pytest.mark.parametrize("name", POINTS)
def test_a_run_that_has_lost_a_file_goes_on_without_removing_anything(folder: RunFolder, name: str) -> None:
    file_of(folder, name).unlink()
    if name != "P/point.json":  # the scenario says it, too
        assert latest_unfinished(folder.path.parent, None, QUIET.say) == folder
    found, loaded = resumable(folder.path, folder.path.parent, QUIET)
    assert file_of(found, "P/point.json").exists()
    whole = _whole(loaded.points, found, QUIET)
    assert len(whole) == (2 if name == "P/point.json" else 1)
    place = first_point(folder)
    left = sorted(file.name for file in place.iterdir() if file.name != "load")
    found.begin_point(loaded.points[0])
    aside = place.with_name(f"{place.name}.unfinished-1")
    assert sorted(file.name for file in aside.iterdir() if file.name != "load") == left


def test_what_a_run_goes_on_with_is_compared_with_what_it_was_begun_with(folder: RunFolder) -> None:
    from harness.commands.sittings import check_environment, check_models

    about = folder.about(1)
    assert about.environment is not None
    for name in ("model.json", "environment.json"):
        (folder.path / name).unlink()
    check_models(folder, about.models, measured=True)  # by result.json
    check_environment(folder, about.environment, measured=True)
    for name in ("model.json", "environment.json", "result.json"):
        (folder.path / name).unlink(missing_ok=True)
    found = report.collect(folder, {})
    assert (found.model, found.environment, len(found.points)) == (None, None, 2)
    assert page_html(found, {}).count(escape(UNKNOWN)) == 4, "ran on, served by, the export, the environment"
    with pytest.raises(InputError, match=r"model\.json isn't whole, so nobody can tell"):
        check_models(folder, about.models, measured=True)
    with pytest.raises(InputError, match=r"environment\.json isn't whole, so nobody can tell"):
        check_environment(folder, about.environment, measured=True)


def test_a_folder_in_which_nothing_is_whole_says_all_of_it(folder: RunFolder) -> None:
    for file in folder.path.rglob("requests.parquet"):
        file.write_bytes(b"")
    with pytest.raises(InputError, match="no point was finished in ") as raised:
        report.rebuild(folder.path, QUIET)
    assert str(raised.value).count("requests.parquet is damaged") == 2


def test_a_run_of_somebody_else_is_told_and_nothing_is_written(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.path / ".lock").unlink()
    before = {file: file.stat().st_mtime_ns for file in folder.path.rglob("*")}
    folder.path.chmod(0o555)
    with modes_count():
        result = report.rebuild(folder.path)
    assert len(result.points) == 2 and result.faults == ()
    assert "nothing was written: " in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in folder.path.rglob("*")} == before
    with modes_count(), pytest.raises(HarnessError, match=r"can't be written|can't be made"):
        resumable(folder.path, folder.path.parent, QUIET)


@pytest.mark.parametrize("closed", ["results", "results/run", "results/run/points"])
def test_a_folder_that_may_not_be_read_is_one_sentence(
    folder: RunFolder, tmp_path: Path, closed: str
) -> None:
    (tmp_path / closed).chmod(0)
    try:
        with modes_count(), pytest.raises(InputError, match=r"can't be read \(Permission denied\)"):
            report.rebuild(folder.path, QUIET)
    finally:
        (tmp_path / closed).chmod(0o755)


def test_a_scenario_that_was_changed_since_is_not_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "scenarios" / "small.yaml"
    results = tmp_path / "results"
    folder = begun_run(results, TWO, file)
    assert resumable(file, results, QUIET)[0] == folder
    file.write_text(f"# a word\n{TWO}")
    assert resumable(file, results, QUIET)[0] == folder, "it says the same"
    file.write_text(TWO.replace("tokens: 16", "tokens: 17"))
    with pytest.raises(
        InputError, match=rf"another scenario than the small.yaml of today: go on .*{folder.path} --resume"
    ):
        resumable(file, results, QUIET)
    assert resumable(folder.path, results, QUIET)[0] == folder


def test_what_set_changed_when_a_run_began_stays_changed(tmp_path: Path) -> None:
    from harness.store.run_folder import create_run
    from harness.store.scenario_file import load_scenario

    file = tmp_path / "scenarios" / "small.yaml"
    file.parent.mkdir()
    file.write_text(TWO)
    begun = load_scenario(file, ["load.rate_per_s=[7]"])
    folder = create_run(tmp_path / "results", begun)
    assert resumable(file, tmp_path / "results", QUIET) == (folder, begun)


def test_a_point_that_was_killed_before_it_began_is_nothing_to_tell(folder: RunFolder) -> None:
    place = first_point(folder)
    shutil.rmtree(place)
    place.mkdir()
    found = report.collect(folder, {})
    assert found.faults == () and len(found.points) == 1


def test_a_scenario_that_lost_its_text_goes_on_only_where_it_names_nothing_of_mine(folder: RunFolder) -> None:
    (folder.path / "scenario.yaml").unlink()
    assert report.collect(folder, {}).faults == ()
    assert resumable(folder.path, folder.path.parent, QUIET)[0] == folder
    stored = json.loads((folder.path / "scenario.json").read_text())
    stored["scenario"]["model"] = "ours:make"
    (folder.path / "scenario.json").write_text(json.dumps(stored))
    with pytest.raises(InputError, match=r"its scenario\.yaml isn't whole"):
        resumable(folder.path, folder.path.parent, QUIET)
