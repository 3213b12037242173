"""Raw samples are removed by age, and that is said: figures, verdicts and what isn't finished stay."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import harness
from harness.commands import report
from harness.commands.history import history, thin
from harness.commands.progress import Progress
from harness.commands.resumable import resumable
from harness.schema.errors import InputError
from harness.schema.history_result import Thinned
from harness.store import thinned
from harness.store.run_folder import latest_unfinished, open_run
from tests.report.test_comparison_page import comparison
from tests.store.finished import finished_run
from tests.store.past_runs import PastRuns

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("small")).path


@pytest.fixture
def past(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PastRuns:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return PastRuns(tmp_path / "results", small)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_samples_go_and_it_is_kept_which(past: PastRuns) -> None:
    run = past.made().path
    before = files(run)
    (told,) = thin("90d", past.results).runs
    after = files(run)
    gone = {name: len(content) for name, content in before.items() if name not in after}
    assert {Path(name).name for name in gone} == set(thinned.SAMPLES) - {"sequences.parquet"}
    assert (told.files, told.bytes) == (3, sum(gone.values()))
    record = Thinned.model_validate_json(after.pop("thinned.json"))
    assert (record.files, record.older_than_days, record.schema_version) == (gone, 90.0, 1)
    after.pop(".lock")
    assert after == {name: content for name, content in before.items() if name not in gone}
    (listed,) = history(past.results).runs
    assert listed.thinned_at == record.thinned_at and listed.outcome == "valid"
    assert thin("90d", past.results).runs == (), "there is nothing more to remove"


def test_a_dry_run_says_how_much_and_removes_nothing(past: PastRuns) -> None:
    run = past.made().path
    before = files(run)
    would = thin("90d", past.results, dry_run=True)
    assert files(run) == before and would.dry_run
    assert thin("90d", past.results).runs == would.runs


def test_what_is_younger_unfinished_or_a_baseline_stays(past: PastRuns, small: Path) -> None:
    past.made(0, name="old")
    past.made(10**5, name="tomorrow")
    past.made(0, name="half", finished=False)
    shutil.copytree(small, past.results / "baselines" / "small" / "20260101T000000Z")
    kept = {name: files(past.results / name) for name in ("tomorrow", "half", "baselines")}
    assert [each.folder for each in thin("1d", past.results).runs] == ["old"]
    assert {name: files(past.results / name) for name in kept} == kept


def test_the_arms_of_a_comparison_are_thinned(past: PastRuns, small: Path) -> None:
    folder = past.results / "20250101T000000Z-before-vs-after"
    folder.mkdir()
    (folder / "ab.json").write_text(comparison(started_at="2025-01-01T00:00:00+00:00").model_dump_json())
    for arm in ("baseline", "candidate"):
        shutil.copytree(small, folder / arm)
    (told,) = thin("1d", past.results).runs
    assert told.files == 6 and not list(folder.rglob("*.parquet"))
    assert (folder / "candidate" / "thinned.json").exists()
    (run,) = history(past.results).runs
    assert run.outcome == "regressed"


def test_report_and_samples_say_so_in_one_sentence(past: PastRuns, capfd: pytest.CaptureFixture[str]) -> None:
    run = past.made().path
    whole = open_run(run).read_result()
    thin("90d", past.results)
    capfd.readouterr()
    before = files(run)
    assert report.rebuild(run) == whole
    assert files(run) == before
    (told,) = capfd.readouterr().err.splitlines()
    assert "were removed by `harness history thin` at" in told
    with pytest.raises(InputError, match=r"^the raw samples of .* were removed by `harness history thin`"):
        harness.samples(run, whole.points[0].id)


def test_a_thinned_run_isnt_measured_again(past: PastRuns) -> None:
    run = past.made().path
    thin("90d", past.results)
    with pytest.raises(InputError, match="has no unfinished run"):
        latest_unfinished(past.results, None, QUIET.say)
    with pytest.raises(InputError, match="were removed by `harness history thin`"):
        resumable(run, past.results, QUIET)


def test_one_that_another_harness_writes_to_is_named(past: PastRuns) -> None:
    run = past.made()
    with run.locked():
        found = thin("90d", past.results)
    (left,) = found.skipped
    assert found.runs == () and "another harness writes to" in left.why
    assert list(run.path.rglob("*.parquet"))


def test_what_was_cut_off_in_the_middle_goes_on(past: PastRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    run = past.made().path

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as at_first:
        at_first.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            thinned.thin(run, thinned.samples_in(run), 90.0)
    assert len(list(run.rglob("*.parquet"))) == 3 and thinned.read(run)
    assert len(thin("90d", past.results).runs) == 1
    record = thinned.read(run)
    assert not list(run.rglob("*.parquet")) and record and len(record.files) == 3


def test_no_link_is_followed(past: PastRuns, tmp_path: Path) -> None:
    run = past.made().path
    mine = tmp_path / "mine"
    (run / "points").rename(mine)
    (run / "points").symlink_to(mine)
    thin("90d", past.results)
    assert len(list(mine.rglob("*.parquet"))) == 3


def test_no_link_in_place_of_a_point_is_followed(past: PastRuns, tmp_path: Path) -> None:
    run = past.made().path
    (point,) = (run / "points").iterdir()
    point.rename(tmp_path / "mine")
    samples = thinned.samples_in(run)
    point.symlink_to(tmp_path / "mine")
    assert thinned.samples_in(run) == samples == {}


@pytest.mark.parametrize("age", ["", "90", "-1d", "1y", "d", "9999999d"])
def test_an_age_that_cant_be_meant_is_refused(past: PastRuns, age: str) -> None:
    with pytest.raises(InputError, match=r"is no age: give days, hours or weeks"):
        thin(age, past.results)
