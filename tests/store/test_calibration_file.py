"""What `harness calibrate --record` keeps: read back as it was, and never mixed with something else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.schema.calibration import Calibration, PartRun
from harness.schema.errors import HarnessError, InputError
from harness.store import calibration_file
from tests.report.factory import environment

HERE = environment(gpu=False).model_copy(update={"git_commit": "4a150fd"})
RUN = PartRun(
    command="harness calibrate --record r.json", started_at="14:00", finished_at="14:30", failures=("no p50",)
)
FOUND = Calibration(
    environment=HERE,
    quick=False,
    measured={"truth": (RUN,)},
    failures=("no p50",),
)


def test_what_is_written_is_read_back_and_the_folder_is_made(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "record.json"
    assert calibration_file.read(file, quick=False) is None
    calibration_file.write(file, FOUND)
    assert calibration_file.read(file, quick=False) == FOUND
    assert [each.name for each in file.parent.iterdir()] == ["record.json"]


def test_a_quick_and_a_full_calibration_are_never_one(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    calibration_file.write(file, FOUND)
    with pytest.raises(InputError, match=r"is of a full calibration: .* or leave out --quick"):
        calibration_file.read(file, quick=True)
    calibration_file.write(file, FOUND.model_copy(update={"quick": True}))
    with pytest.raises(InputError, match=r"is of a quick calibration: .* or add --quick"):
        calibration_file.read(file, quick=False)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "not json", '{"run_id": "x"}'])
def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / "record.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"isn't a calibration that this harness recorded: give --record"):
        calibration_file.read(file, quick=False)
    assert file.read_text() == text


def test_a_folder_can_neither_be_read_nor_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        calibration_file.read(tmp_path, quick=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match=r"can't be written .* give --record a file in a folder you can"):
        calibration_file.write(tmp_path / "file" / "record.json", FOUND)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cpu": "another"}, "cpu .* there and another here"),
        ({"packages": {"numpy": "1.0"}}, "packages"),
        ({"git_commit": "053fc43"}, "commit 4a150fd there and 053fc43 here"),
        ({"git_commit": None}, "commit 4a150fd there and unknown here"),
    ],
)
def test_another_machine_or_harness_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        calibration_file.same_place(Path("r.json"), HERE, HERE.model_copy(update=change))


def test_the_port_is_no_difference_and_uncommitted_changes_are_told() -> None:
    elsewhere = HERE.model_copy(update={"server_url": "http://127.0.0.1:1"})
    assert calibration_file.same_place(Path("r.json"), HERE, elsewhere) == elsewhere
    dirty = HERE.model_copy(update={"git_commit": "4a150fd+dirty"})
    for there, here in ((HERE, dirty), (dirty, HERE)):
        assert calibration_file.same_place(Path("r.json"), there, here).git_commit == "4a150fd+dirty"
