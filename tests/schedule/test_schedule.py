"""`harness schedule` from the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness import cli
from tests.e2e.conftest import ONE


def asked(*arguments: str) -> int:
    """The exit code of `harness schedule ARGUMENTS`, in the test's own process."""
    sys.argv = ["harness", "schedule", *arguments]
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "at 100%"
    folder.mkdir()
    (folder / "my model.yaml").write_text(ONE)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [])
    return folder


@pytest.mark.usefixtures("place")
def test_it_prints_what_runs_this_python_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("cron", "my model.yaml", "--at", "4:30") == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("30 4 * * * cd ") and f"{sys.executable} -P -m harness nightly" in line
    assert line.count("my model.yaml") == 0 and "\\%" in line, "each character has quotes of its own"
    assert asked("systemd", "my model.yaml") == 0
    printed = capsys.readouterr().out
    assert (
        "# harness-nightly-my-model.service\n" in printed and "# harness-nightly-my-model.timer\n" in printed
    )


def test_it_writes_files_and_overwrites_none(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("systemd", "my model.yaml", "--to", "units") == 0
    written = {file.name: file.read_text() for file in (place / "units").iterdir()}
    assert set(written) == {"harness-nightly-my-model.service", "harness-nightly-my-model.timer"}
    (place / "units" / "harness-nightly-my-model.service").unlink()
    assert asked("systemd", "my model.yaml", "--at", "5:00", "--to", "units") == 2
    assert "is there already: remove it" in capsys.readouterr().err
    (kept,) = (place / "units").iterdir()
    assert kept.read_text() == written[kept.name]


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cron", "nothing.yaml"), "there is no scenario nothing.yaml"),
        (("cron", "my model.yaml", "--at", "24:00"), "is no time of day"),
        (("cron", "my model.yaml", "--image", "x"), "--image is for kubernetes"),
        (("kubernetes", "/x.yaml"), "--image is for kubernetes, which needs one"),
        (("kubernetes", "/x.yaml", "--image", "x", "--results", "here"), "is no place for a volume"),
        (("at", "my model.yaml"), "'at' is not one of"),
        (("cron", "my model.yaml", "--to", "my model.yaml"), "give --to a folder"),
    ],
)
def test_each_mistake_is_a_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert asked(*arguments) in (2, 4)
    told = capsys.readouterr().err
    assert said in told and len(told.splitlines()) == 1
