"""Which harness it is, is said by its commit, and what is of another commit is named and refused."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness import version
from harness.load.distributed.messages import PROTOCOL, differing, versions
from harness.probe.gpus import Gpus
from harness.probe.reader.reader import hello
from harness.probe.reader.spool import Hello
from harness.probe.watch.remote_watch import RemoteProbe
from harness.schema.errors import InputError

ROOT = Path(__file__).parents[1]


def said_in(folder: Path) -> str:
    """What the harness that lies in a folder says of itself."""
    script = "from harness.version import version; print(version())"
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, "-C", str(folder), *arguments], check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The few files that say which harness it is, committed."""
    folder = tmp_path / "clone"
    (folder / "harness" / "schema").mkdir(parents=True)
    for name in ("__init__", "git", "version", "schema/__init__", "schema/errors"):
        shutil.copy(ROOT / "harness" / f"{name}.py", folder / "harness" / f"{name}.py")
    shutil.copy(ROOT / "setup.py", folder)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_clone_says_its_commit_as_it_is_now(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))  # as in a hook of another repository
    first = said_in(clone)
    assert re.fullmatch(rf"{re.escape(version.RELEASE)}\+g[0-9a-f]{{7}}", first)
    (clone / "note").write_text("no part of harness")
    assert said_in(clone) == first
    file = clone / "harness" / "git.py"
    file.write_text(f"{file.read_text()}# one\n")
    one = said_in(clone)
    assert re.fullmatch(rf"{re.escape(first)}\.d[0-9a-f]{{8}}", one)
    file.write_text(f"{file.read_text()}# two\n")
    assert said_in(clone) not in (one, first), "what isn't committed is told apart, too"
    monkeypatch.delenv("GIT_DIR")
    git(clone, "commit", "-q", "-a", "-m", "second")
    assert "+g" in said_in(clone) and said_in(clone) != first


def test_a_copy_without_git_is_told_by_its_content(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(clone / ".git")
    monkeypatch.setenv("PYTHONPATH", "")
    copied = said_in(clone)
    assert "+nogit." in copied or "+g" not in copied
    (clone / "harness" / "git.py").open("a").write("# other\n")
    assert said_in(clone) != copied


def test_this_harness_is_the_same_wherever_it_is_named() -> None:
    assert harness.__version__ == version.version() == versions()["harness"] and "+" in harness.__version__
    with Gpus() as gpus:
        assert hello(gpus).harness == harness.__version__


def test_what_differs_is_named() -> None:
    here = versions()
    assert differing(here, dict(here)) is None
    assert differing(here, here | {"harness": "0.2.0+gabc"}) == (
        f"harness 0.2.0+gabc is here, and harness {here['harness']} where the run is"
    )
    before = {name: told for name, told in here.items() if name != "protocol"} | {"harness": "0.1.0"}
    assert differing(here, before) == (
        "protocol of an unknown version, harness 0.1.0 is here, and "
        f"protocol {PROTOCOL}, harness {here['harness']} where the run is"
    )


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({}, "is of harness 0.1 (protocol 1), and this is harness "),
        (
            {"harness": "0.2.0+gabc", "protocol": 2},
            "is of harness 0.2.0+gabc (protocol 2), and this is harness ",
        ),
        (
            {"harness": harness.__version__, "protocol": 9},
            f"is of harness {harness.__version__} (protocol 9)",
        ),
    ],
)
def test_a_probe_of_another_harness_is_refused_by_name(there: dict[str, object], said: str) -> None:
    other = Hello((), None, "box", None, 8, **there)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=re.escape(said)):
        RemoteProbe("127.0.0.1", 9400)._check_same(other)
