from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.atomic import new_folder, replacing, replacing_path, write_text
from harness.schema.errors import HarnessError


def test_a_file_is_replaced_at_the_end_and_not_before(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_text(file, "before")
    with replacing(file) as stream:
        stream.write(b"af")
        stream.flush()
        assert file.read_text() == "before"
        stream.write(b"ter")
    assert file.read_text() == "after" and list(tmp_path.iterdir()) == [file]


def test_what_is_made_is_as_private_as_the_user_asks(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_text(tmp_path / "text", "")
        with replacing_path(tmp_path / "page") as scratch:
            scratch.write_text("")
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_what_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.json", tmp_path / "folder"
    write_text(file, "before")
    folder.mkdir()
    (folder / "kept").touch()
    with pytest.raises(ZeroDivisionError), replacing(file) as stream:
        stream.write(b"half")
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), replacing_path(file) as scratch:
        scratch.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), new_folder(folder) as made:
        (made / "half").touch()
        raise ZeroDivisionError
    assert file.read_text() == "before"
    assert sorted(tmp_path.rglob("*")) == [file, folder, folder / "kept"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    theirs, file = tmp_path / "theirs", tmp_path / "a.json"
    theirs.write_text("kept")
    for write in (lambda: write_text(file, "ours"), lambda: _by_path(file)):
        file.symlink_to(theirs)
        write()
        assert file.read_text() == "ours" and not file.is_symlink() and theirs.read_text() == "kept"
        file.unlink()


def _by_path(file: Path) -> None:
    with replacing_path(file) as scratch:
        scratch.write_text("ours")


def test_a_hard_link_may_become_the_file_that_it_is_already(tmp_path: Path) -> None:
    source, file = tmp_path / "source", tmp_path / "file"
    source.write_text("one")
    for _ in range(2):  # rename(2) of one link onto another does nothing
        with replacing_path(file) as scratch:
            scratch.hardlink_to(source)
    assert sorted(tmp_path.iterdir()) == [file, source] and file.samefile(source)


def test_a_folder_replaces_another_whole(tmp_path: Path) -> None:
    folder = tmp_path / "there" / "folder"
    for name in ("first", "second"):
        with new_folder(folder) as made:
            assert list(made.iterdir()) == []
            (made / name).touch()
            (made.parent / "download").touch()
    assert list((tmp_path / "there").iterdir()) == [folder]
    assert [path.name for path in folder.iterdir()] == ["second"]


def test_what_cannot_be_written_is_a_sentence_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"can't be written \(No such file or directory\): do this$"):
        write_text(tmp_path / "no" / "a.json", "text", "do this")
    with pytest.raises(OSError), replacing_path(tmp_path / "no" / "a.json") as scratch:
        os.close(os.open(scratch, os.O_CREAT | os.O_WRONLY))
