"""Where harness may not write: `doctor` says so, and everything can be put elsewhere."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from harness.commands import doctor, trial
from harness.schema.errors import HarnessError
from harness.store.seal import seal
from tests.e2e.conftest import HARNESS, ONE, Workplace, valid
from tests.mounts import mounted, read_only
from tests.rights import modes_count


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of a user who set nothing."""
    for name in ("HARNESS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def found_of_cache() -> str | None:
    """What doctor says that is wrong with the cache."""
    finding = doctor._disk()
    assert finding.what == "cache"
    return None if finding.ok else finding.found


def test_a_cache_that_can_be_used_is_left_as_it_was(home: Path) -> None:
    assert found_of_cache() is None
    assert list(home.iterdir()) == []
    (home / ".cache" / "harness").mkdir(parents=True)
    assert found_of_cache() is None
    assert [path.name for path in home.rglob("*")] == [".cache", "harness"]


def test_a_home_that_may_not_be_written_is_named(home: Path) -> None:
    home.chmod(0o555)
    with modes_count():
        said = found_of_cache()
        with pytest.raises(HarnessError, match=r"can't be made \(Permission denied\): set HARNESS_CACHE"):
            seal(b"what a run does first")
    assert said == (
        f"the cache folder {home}/.cache/harness can't be written (Permission denied): set HARNESS_CACHE to "
        "a folder that you can write, on a disk from which programs may run"
    )
    (home / ".cache" / "harness" / "locks").mkdir(parents=True)
    (home / ".cache" / "harness" / "locks").chmod(0o555)
    with (
        modes_count(),
        pytest.raises(HarnessError, match=r"can't be written \(Permission denied\): make room"),
    ):
        seal(b"where the folders are there")


def test_a_home_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/nowhere")
    assert "can't be written (No such file or directory): set HARNESS_CACHE" in (found_of_cache() or "")

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert "home is, isn't known: set HARNESS_CACHE" in (found_of_cache() or "")


def test_a_home_from_which_no_program_runs_is_named(home: Path) -> None:
    with mounted(home, "-t", "tmpfs", "-o", "noexec", "tmpfs"):
        assert (
            f"the disk of the cache folder {home}/.cache/harness lets no program run (Permission denied)"
            in (found_of_cache() or "")
        )


def test_a_working_folder_that_may_not_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    assert trial.writable(Path("results"), "--results") is None and list(work.iterdir()) == []
    work.chmod(0o555)
    with modes_count():
        said = trial.writable(Path("results"), "--results")
    assert said == (
        f"{work}/results can't be written (Permission denied): give --results a folder that you can write"
    )


def test_too_little_shared_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trial.shared_memory() is None
    monkeypatch.setattr(trial, "SHARED_MEMORY_BYTES", 1 << 60)
    said = trial.shared_memory()
    assert said is not None and "can't be had in /dev/shm" in said and "--shm-size" in said
    assert not list(Path("/dev/shm").glob("harness_doctor_*"))


def test_doctor_is_not_ready_where_a_run_could_write_nothing(workplace: Workplace) -> None:
    with read_only(workplace.path):
        told = workplace.run("doctor")
    assert told.code == 4 and "not ready: mend what is missing above" in told.stdout
    for what, option in (("results", "--results"), ("model repository", "--repository")):
        (line,) = (line for line in told.stdout.splitlines() if f" {what}: " in line)
        assert line.startswith("missing") and f"(Read-only file system): give {option} a folder" in line


def test_doctor_is_not_ready_with_too_little_shared_memory(workplace: Workplace) -> None:
    """As in a container without `--shm-size`, but smaller: among mounts of its own."""
    mount = 'mount -t tmpfs -o size=16m tmpfs /dev/shm && exec "$@"'
    workplace.program = ["unshare", "--mount", "sh", "-c", mount, "sh", *HARNESS]
    told = workplace.run("doctor", "--json")
    if "unshare" in told.stderr or "mount:" in told.stderr:
        pytest.skip("nothing can be mounted here")
    assert told.code == 4 and told.document["ready"] is False
    (shm,) = (each for each in told.document["findings"] if each["what"] == "shared memory")
    assert shm["ok"] is False and "can't be had in /dev/shm (No space left on device)" in shm["found"]


@pytest.mark.triton
def test_a_read_only_working_folder_serves_a_run_that_is_put_elsewhere(
    workplace: Workplace, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    workplace.scenario(ONE)
    monkeypatch.undo()  # the cache of these tests is warm
    with read_only(workplace.path):
        refused = workplace.run("run", "scenario.yaml")
        assert (
            refused.code == 4
            and "(Read-only file system): choose another folder with --results" in refused.stderr
        )
        refused = workplace.run("run", "scenario.yaml", "--results", elsewhere)
        assert refused.code == 4 and "give --repository a folder that you can write" in refused.stderr
        to = ("--results", elsewhere / "results", "--repository", elsewhere / "repository")
        done = workplace.run("run", "scenario.yaml", *to, "--json")
        valid(done)
        assert (elsewhere / "repository" / "double" / "config.pbtxt").exists()
    run = Path(done.document["path"])
    with read_only(run):
        told = workplace.run("report", run, "--json")
        assert told.code == 0 and told.document == done.document
        assert "nothing was written: " in told.stderr and "Traceback" not in told.stderr
