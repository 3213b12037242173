"""Going on with a run that somebody sent: what its scenario names is neither executed nor read, unless the
user says that it is theirs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.commands import run as story
from harness.commands.progress import Progress
from harness.commands.resumable import resumable
from harness.schema.errors import InputError
from harness.store.run_folder import RunFolder
from harness.store.scenario_file import load_scenario
from tests.store.finished import SCENARIO, begun_run

QUIET = Progress(quiet=True)

OURS = """\
model: ours_of_resumed:make
requests: [{name: a}]
load: {concurrency: 1}
"""


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What is there once the factory beside the scenario was executed."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "scenarios" / "ours_of_resumed.py"
    file.parent.mkdir()
    ran = tmp_path / "ran"
    file.write_text(f"open({str(ran)!r}, 'w')\nraise RuntimeError('it ran')\n")
    yield ran


def begun(tmp_path: Path, text: str) -> RunFolder:
    return begun_run(tmp_path / "results", text, tmp_path / "scenarios" / "small.yaml")


def sent(run: RunFolder, /, **changes: Any) -> RunFolder:
    """As somebody else's harness would have begun it, with `changes` to its scenario.json."""
    file = run.path / "scenario.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return run


def naming(folder: RunFolder, **changes: Any) -> RunFolder:
    scenario = json.loads((folder.path / "scenario.json").read_text())["scenario"]
    return sent(folder, scenario=scenario | changes)


def test_a_run_of_mine_goes_on_as_it_began_whatever_became_of_its_scenario(tmp_path: Path, ran: Path) -> None:
    folder = begun(tmp_path, OURS)
    began = load_scenario(tmp_path / "scenarios" / "small.yaml")
    (tmp_path / "scenarios" / "small.yaml").unlink()
    for what in (folder.path, None):
        assert resumable(what, tmp_path / "results", QUIET) == (folder, began)
    with pytest.raises(InputError, match="importing ours_of_resumed raised RuntimeError: it ran"):
        story.resume(folder.path, progress=QUIET)
    assert ran.exists()


@pytest.mark.parametrize("what", ["the run", "the newest"])
def test_a_model_of_a_run_that_was_sent_is_not_executed(tmp_path: Path, ran: Path, what: str) -> None:
    folder = sent(begun(tmp_path, OURS))
    named = {"the run": folder.path, "the newest": None}[what]
    with pytest.raises(
        InputError, match=r"would use the model 'ours_of_resumed:make', .*give the scenario file"
    ):
        story.resume(named, results=tmp_path / "results", progress=QUIET)
    assert not ran.exists()


def test_a_seal_is_of_one_scenario_and_one_key(
    tmp_path: Path, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = begun(tmp_path, OURS)
    assert mine.begun_here
    elsewhere = RunFolder(Path(shutil.copytree(mine.path, tmp_path / "copy")))
    assert elsewhere.begun_here, "a copy of what I began is as I began it"
    (elsewhere.path / "scenario.yaml").write_text(OURS + "\n")
    assert not elsewhere.begun_here
    for seal in ("", "0" * 64, "é", "x" * 999):
        (mine.path / "scenario.seal").write_text(seal)
        assert not mine.begun_here
    other = begun(tmp_path, SCENARIO)
    shutil.copy(other.path / "scenario.seal", mine.path)
    assert not mine.begun_here
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "another user's"))
    assert not other.begun_here
    key = tmp_path / "another user's" / "seal.key"
    assert key.stat().st_mode & 0o777 == 0o600 and len(key.read_bytes()) == 32
    assert not ran.exists()


def test_data_that_a_run_that_was_sent_names_is_not_read(tmp_path: Path, ran: Path) -> None:
    (tmp_path / "scenarios" / "arrivals.txt").write_text("0\n1\n")
    data = [{"name": "a", "weight": 1.0, "batch": 1, "tokens": 16, "axes": {}, "folder": "home"}]
    folder = naming(sent(begun(tmp_path, SCENARIO), folder="/"), requests=data)
    with pytest.raises(InputError, match="would use the files of 'home'"):
        story.resume(folder.path, progress=QUIET)
    load = {"replay": {"file": "etc/passwd"}, "workers": 1}
    folder = naming(sent(begun(tmp_path, SCENARIO), folder="/"), load=load)
    with pytest.raises(InputError, match="would use the file 'etc/passwd'"):
        story.resume(folder.path, progress=QUIET)
    for model in ("../mine.onnx", "models/bert", "/models/bert", "os:abort"):
        folder = naming(begun(tmp_path, SCENARIO), model=model)
        with pytest.raises(InputError, match=f"would use the model '{model}'"):
            story.resume(folder.path, progress=QUIET)
    assert not ran.exists()


def test_a_run_that_was_sent_goes_on_where_it_names_nothing_of_mine(tmp_path: Path, ran: Path) -> None:
    folder = sent(begun(tmp_path, SCENARIO), folder="/")
    _, loaded = resumable(folder.path, tmp_path / "results", QUIET)
    assert loaded.folder == folder.path, "nothing outside it can be meant any more"
    assert not ran.exists()


def test_my_scenario_file_vouches_for_a_run_without_my_seal(tmp_path: Path, ran: Path) -> None:
    """As one that an earlier version began."""
    folder = begun(tmp_path, OURS)
    (folder.path / "scenario.seal").unlink()
    mine = tmp_path / "scenarios" / "small.yaml"
    found, loaded = resumable(mine, tmp_path / "results", QUIET)
    assert (found, loaded.folder, loaded.scenario.model) == (folder, mine.parent, "ours_of_resumed:make")
    naming(folder, model="os:abort")
    with pytest.raises(InputError, match=r"begun with another scenario than the small\.yaml of today"):
        story.resume(mine, results=tmp_path / "results", progress=QUIET)
    assert not ran.exists()
