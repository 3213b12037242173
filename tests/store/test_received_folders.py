"""A run's folder that somebody sent: nothing outside it is written or read, whatever lies in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import atomic, plain_file
from harness.commands import report
from harness.commands.progress import Progress
from harness.schema.errors import HarnessError, InputError
from harness.store.run_folder import RunFolder, latest_unfinished, open_run
from tests.store.finished import begun_run, finished_run

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("sent")).path


@pytest.fixture
def received(sent: Path, tmp_path: Path) -> Path:
    """A copy of a finished run's folder, to be spoiled."""
    return Path(shutil.copytree(sent, tmp_path / "received"))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Something of the user's beside it."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "diary").write_text("precious")
    return folder


def unchanged(mine: Path) -> bool:
    return sorted(p.name for p in mine.rglob("*")) == ["diary"] and (mine / "diary").read_text() == "precious"


def in_the_point(received: Path, name: str) -> Path:
    (point,) = (received / "points").iterdir()
    return point / name


def test_a_folder_as_it_was_sent_is_reported(received: Path) -> None:
    (point,) = report.rebuild(received, QUIET).points
    assert point.requests == 500 and (received / "report.html").stat().st_size > 100_000


PLACES = [
    *(".lock", "scenario.json", "scenario.yaml", "run.json"),
    *("model.json", "other_models.json", "environment.json"),
    *("result.json", "report.html", "summary.md", "benchmark.json", "perf_analyzer-request-rate.csv"),
    *("server.log", "note"),
    *("points/P/point.json", "points/P/observed.json"),
    *("points/P/requests.parquet", "points/P/host.parquet", "points/P/gpu.parquet"),
]
FOLDERS = ["points", "points/P", "points/P/load", "points/other"]


def at(received: Path, place: str) -> Path:
    """The file or folder of that name in the run, out of the way."""
    (point,) = (received / "points").iterdir()
    path = received / place.replace("P", point.name)
    if path.is_dir():
        path.rename(received.parent / "aside")
    else:
        path.unlink(missing_ok=True)
    return path


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("open_it", [open_run, report.rebuild])
def test_a_link_in_place_of_a_file_is_refused(
    received: Path, mine: Path, place: str, open_it: Callable[[Path], object]
) -> None:
    at(received, place).symlink_to(mine / "diary")
    with pytest.raises(InputError, match=r"is a link, .*remove it"):
        open_it(received)
    assert unchanged(mine)


@pytest.mark.parametrize("place", FOLDERS)
def test_a_link_in_place_of_a_folder_is_refused(received: Path, mine: Path, place: str) -> None:
    at(received, place).symlink_to(mine)
    with pytest.raises(InputError, match=r"is a link, .*remove it"):
        report.rebuild(received, QUIET)
    assert unchanged(mine)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("place", PLACES)
def test_a_pipe_is_refused_and_not_waited_for(received: Path, place: str) -> None:
    os.mkfifo(at(received, place))
    with pytest.raises(InputError, match=r"is a pipe, "):
        report.rebuild(received, QUIET)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("place", ["scenario.json", "points/P/observed.json"])
def test_a_device_is_not_read(received: Path, place: str) -> None:
    at(received, place).symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"is a link, "):
        report.rebuild(received, QUIET)
    at(received, place)
    try:
        os.mknod(at(received, place), 0o644 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(InputError, match=r"is a device, "):
        report.rebuild(received, QUIET)


@pytest.mark.parametrize("place", PLACES)
def test_a_folder_in_place_of_a_file_is_no_traceback(received: Path, place: str) -> None:
    at(received, place).mkdir()
    with pytest.raises(HarnessError):
        report.rebuild(received, QUIET)
        raise HarnessError("it was in nobody's way")  # as a note is


def test_the_lock_is_taken_without_changing_its_file(received: Path) -> None:
    (received / ".lock").write_text("what lies there")
    with open_run(received).locked():
        assert (received / ".lock").read_text() == "what lies there"


def test_the_lock_does_not_follow_a_link_that_comes_after_the_look(received: Path, mine: Path) -> None:
    folder = open_run(received)
    at(received, ".lock").symlink_to(mine / "diary")
    with pytest.raises(InputError, match="is a link"), folder.locked():
        pass
    assert unchanged(mine)


def test_nobody_can_foresee_where_a_file_is_written_before_it_is_renamed(mine: Path, tmp_path: Path) -> None:
    for guess in (f".note.{os.getpid()}", ".note."):
        (tmp_path / guess).symlink_to(mine / "diary")
    seen = []
    for _ in range(2):
        with atomic.replacing(tmp_path / "note") as stream:
            stream.write(b"text")
            seen.append({p.name for p in tmp_path.iterdir() if p.name.startswith(".note.")})
    assert unchanged(mine) and seen[0] != seen[1]
    assert (tmp_path / "note").read_bytes() == b"text"
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "note").stat().st_mode & 0o777 == 0o666 & ~mask, "as any file that the user makes"


def test_a_name_that_was_foreseen_all_the_same_is_not_written_through(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "foreseen")
    (tmp_path / ".note.foreseen").symlink_to(mine / "diary")
    with pytest.raises(HarnessError, match="note can't be written"):
        atomic.write_text(tmp_path / "note", "text")
    assert unchanged(mine)


def test_a_link_that_comes_between_the_look_and_the_opening_is_not_followed(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_file, "check_plain", lambda _: None)
    (tmp_path / "record").symlink_to(mine / "diary")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is a link"):
        plain_file.read_plain(tmp_path / "record", 100)
    with pytest.raises(InputError, match="is a pipe"):
        plain_file.read_plain(tmp_path / "pipe", 100)


def test_more_than_a_record_can_have_is_not_read(received: Path) -> None:
    for place in ("scenario.json", "run.json", "points/P/observed.json"):
        at(received, place).write_text(" " * 4_000_001)
        try:
            said = report.collect(open_run(received), {}).faults
        except InputError as error:
            said = error.args
        assert any(f"{place.split('/')[-1]} is damaged (it is over 4 MB)" in each for each in said), place


def test_a_file_is_written_in_place_of_a_link_not_through_it(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "note").symlink_to(mine / "diary")
    atomic.write_text(tmp_path / "note", "text")
    assert unchanged(mine) and not (tmp_path / "note").is_symlink()


def test_the_folder_itself_may_be_named_through_a_link(received: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(received)
    assert report.rebuild(tmp_path / "latest", QUIET).run_id == "received"


def test_a_broken_folder_is_passed_over_and_named(tmp_path: Path, mine: Path) -> None:
    good = begun_run(tmp_path)
    for name, spoil in {
        "30001-brackets": lambda file: file.write_text("[" * 100_000),
        "30002-link": lambda file: file.symlink_to(mine / "diary"),
        "30003-brace": lambda file: file.write_text("{"),
        "30004-empty": lambda file: file.write_text("{}"),
        "30005-pipe": lambda file: os.mkfifo(file),
        "30006-bytes": lambda file: file.write_bytes(b"\xff\xfe"),
    }.items():
        (tmp_path / name).mkdir()
        spoil(tmp_path / name / "scenario.json")
    said: list[str] = []
    assert latest_unfinished(tmp_path, None, said.append) == RunFolder(good.path)
    assert len(said) == 6 and all("passed over" in text for text in said), said
    assert unchanged(mine)
