"""Load processes forked from one that has imported Locust: they are as good as ones that Python started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.load.coordinator.fork_server import ForkServer
from harness.load.coordinator.locust_process import LocustProcess
from harness.schema.errors import HarnessError
from tests.e2e.conftest import wait_for

MODULE = '''
import os, pathlib, signal, sys, time

def main():
    """Do as the first argument says."""
    what, *more = sys.argv[1:]
    print("hello from", what, flush=True)
    match what:
        case "code":
            sys.exit(int(more[0]))
        case "sentence":
            sys.exit("it has a reason")
        case "fails":
            raise RuntimeError("went wrong")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleeps":
            time.sleep(600)
        case "leaves":
            if not os.fork():
                time.sleep(600)
        case "where":
            print(os.getcwd(), os.environ["HOME"], "LOCUST_USERS" in os.environ, os.getsid(0) == os.getpid())
            print(os.environ["GIVEN"], pathlib.Path("/proc/self/fd/0").resolve(), sys.stdin.read() == "")
            print("imported", "locust.main" in sys.modules, "random", __import__("random").random())
'''


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("module")
    (folder / "does_as_told.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.setenv("LOCUST_USERS", "77")
        yield "does_as_told"


@pytest.fixture(scope="module")
def server(module: str) -> Iterator[ForkServer]:
    assert module
    with ForkServer() as running:
        yield running


@pytest.mark.parametrize(
    ("arguments", "how"),
    [
        (["code", "0"], "exited with status 0: hello from code"),
        (["code", "7"], "exited with status 7: hello from code"),
        (["sentence"], "exited with status 1: it has a reason"),
        (["fails"], "exited with status 1: RuntimeError: went wrong"),
        (["killed"], "was killed by SIGKILL"),
    ],
)
def test_how_one_ended_is_known(
    server: ForkServer, module: str, tmp_path: Path, arguments: list[str], how: str
) -> None:
    process = LocustProcess(server, module, arguments, {}, tmp_path / "out")
    assert process.exit_description() == how
    assert process.gone and process.succeeded == (arguments == ["code", "0"])
    process.end()


def test_it_has_a_session_a_folder_and_an_environment_of_its_own(
    server: ForkServer, module: str, tmp_path: Path
) -> None:
    numbers = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        process = LocustProcess(server, module, ["where"], {"GIVEN": name}, folder / "out")
        assert process.succeeded, (folder / "out").read_text()
        process.end()
        _, where, given, imported = (folder / "out").read_text().splitlines()
        assert where == f"{folder} {folder} False True"
        assert given == f"{name} /dev/null True"
        assert imported.startswith("imported True")
        numbers.append(imported.split()[-1])
    assert numbers[0] != numbers[1], "each draws for itself"


def test_a_list_of_processes_shows_what_it_is(server: ForkServer, module: str, tmp_path: Path) -> None:
    process = LocustProcess(server, module, ["sleeps", "a b"], {}, tmp_path / "out")
    wait_for(lambda: "hello" in (tmp_path / "out").read_text())
    shown = [word for word in psutil.Process(process.pid).cmdline() if word]
    assert shown[1:] == ["-m", module, "sleeps", "a b"]
    assert not process.gone
    process.end(grace_s=0)
    assert process.gone


def test_what_one_has_started_ends_with_it(server: ForkServer, module: str, tmp_path: Path) -> None:
    process = LocustProcess(server, module, ["leaves"], {}, tmp_path / "out")
    group = process.pid
    assert process.succeeded
    process.end()

    def left() -> list[psutil.Process]:
        return [p for p in psutil.process_iter() if _group(p) == group and p.status() != "zombie"]

    wait_for(lambda: not left())


def test_all_end_with_the_server(module: str, tmp_path: Path) -> None:
    with ForkServer() as server:
        process = LocustProcess(server, module, ["sleeps"], {}, tmp_path / "out")
        assert psutil.pid_exists(process.pid)
    assert process.exit_description() == "was killed by SIGKILL"
    wait_for(lambda: not _lives(process.pid))
    process.end()
    server.close()


def test_a_server_that_is_killed_takes_all_along_and_starts_none(module: str, tmp_path: Path) -> None:
    with ForkServer() as server:
        process = LocustProcess(server, module, ["sleeps"], {}, tmp_path / "out")
        os.kill(psutil.Process(process.pid).ppid(), signal.SIGKILL)
        assert process.exit_description() == "was killed by SIGKILL"
        wait_for(lambda: not _lives(process.pid))
        process.end()
        with pytest.raises(HarnessError, match=r"could not be started \(.*\): run `harness doctor`"):
            LocustProcess(server, module, ["sleeps"], {}, tmp_path / "out")


def test_one_that_cannot_import_says_why(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locust").mkdir()
    (tmp_path / "locust" / "__init__.py").write_text("raise ImportError('this is another Locust')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with ForkServer() as server, pytest.raises(HarnessError, match="this is another Locust"):
        LocustProcess(server, module, ["code", "0"], {}, tmp_path / "out")


def test_no_descriptor_is_left(server: ForkServer, module: str, tmp_path: Path) -> None:
    first = LocustProcess(server, module, ["code", "0"], {}, tmp_path / "out")
    assert first.succeeded, "it has imported all"
    first.end()
    before = psutil.Process().num_fds()
    its = psutil.Process(server._process.pid)
    theirs = its.num_fds()
    for _ in range(3):
        process = LocustProcess(server, module, ["code", "0"], {}, tmp_path / "out")
        assert process.succeeded
        process.end()
    assert psutil.Process().num_fds() == before
    wait_for(lambda: its.num_fds() <= theirs)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None
