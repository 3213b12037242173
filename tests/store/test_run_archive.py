"""A run as one file: it comes back as it was, or not at all, and nothing is written elsewhere."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.commands.history import export, import_
from harness.schema.errors import HarnessError, InputError
from harness.schema.history_result import ArchivedFile, ArchiveManifest
from harness.store.run_archive import MANIFEST, MOST_DEPTH
from tests.mounts import mounted, read_only
from tests.store.finished import finished_run
from tests.store.test_thinned import files


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("small")).path


@pytest.fixture(scope="module")
def archive(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run, tmp_path_factory.mktemp("sent") / "run.tar", run.parent)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def nothing_there(results: Path) -> bool:
    return not results.exists() or not list(results.iterdir())


def test_it_comes_back_as_it_was(run: Path, archive: Path, results: Path) -> None:
    back = import_(archive, results)
    was = files(run)
    was.pop(".lock", None)
    assert back == results / run.name and files(back) == was
    assert [path.name for path in results.iterdir()] == [run.name]


def test_nothing_is_overwritten(run: Path, archive: Path, results: Path) -> None:
    back = import_(archive, results)
    (back / "note").write_text("mine")
    with pytest.raises(InputError, match=r"is there already, and nothing is overwritten"):
        import_(archive, results)
    assert (back / "note").read_text() == "mine" and len(list(results.iterdir())) == 1
    with pytest.raises(InputError, match=r"is there already, and nothing is overwritten"):
        export(run, archive, run.parent)


def test_an_empty_folder_of_that_name_stays(run: Path, archive: Path, results: Path) -> None:
    """It may be that of a run that begins right now."""
    (results / run.name).mkdir(parents=True)
    with pytest.raises(InputError, match=r"is there already"):
        import_(archive, results)
    assert not list((results / run.name).iterdir())


def test_any_byte_that_was_changed_is_found(archive: Path, results: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    changed = tmp_path / "changed.tar"
    with tarfile.open(archive) as whole:
        places = [member.offset_data + member.size // 2 for member in whole if member.size]
    assert len(places) > 10
    for place in places:
        changed.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(InputError, match=r"is no whole archive of a run"):
            import_(changed, results)
        assert nothing_there(results)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.99])
def test_one_that_is_torn_is_refused(archive: Path, results: Path, tmp_path: Path, share: float) -> None:
    torn = tmp_path / "torn.tar"
    content = archive.read_bytes()
    with tarfile.open(archive) as whole:
        end = whole.getmember(MANIFEST).offset_data  # zeros follow
    torn.write_bytes(content[: int(end * share)])
    with pytest.raises(InputError, match=r"is no whole archive of a run"):
        import_(torn, results)
    assert nothing_there(results)


def made(file: Path, name: str, change: Callable[[tarfile.TarInfo], object] = lambda _: None) -> Path:
    """An archive with one file of that name, and a manifest that says the same."""
    content = b"content"
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        change(member)
        archive.addfile(member, io.BytesIO(content))
        told = ArchivedFile(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        manifest = ArchiveManifest(
            folder="20260101T000000Z-x", exported_at="", harness_version="", files={name: told}
        )
        text = manifest.model_dump_json().encode()
        last = tarfile.TarInfo(MANIFEST)
        last.size = len(text)
        archive.addfile(last, io.BytesIO(text))
    return file


def test_one_that_was_made_by_hand_is_taken(results: Path, tmp_path: Path) -> None:
    back = import_(made(tmp_path / "a.tar", "points/p/note"), results)
    assert (back / "points" / "p" / "note").read_bytes() == b"content"


LEADING_OUT = [
    *("../out", "/out", "a/../../out", "./out", "a//out", "a/", "..", ".", "", "a/./out"),
    *("\x1b[31m", "a\nb", ".lock", "points/.lock", "x" * 300, "/".join("a" * (MOST_DEPTH + 1))),
]


@pytest.mark.parametrize("name", LEADING_OUT)
def test_no_name_leads_out(results: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"is no whole archive of a run"):
        import_(made(tmp_path / "a.tar", name), results)
    assert nothing_there(results) and {path.name for path in tmp_path.iterdir()} == {"a.tar", "results"}


@pytest.mark.parametrize("name", ["a", "../../etc/x", "a/b/../c"])
@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_nothing_but_plain_files_is_taken(results: Path, tmp_path: Path, kind: bytes, name: str) -> None:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname, member.size = kind, "/etc/passwd", 0

    with pytest.raises(InputError, match=r"is no whole archive of a run"):
        import_(made(tmp_path / "a.tar", name, change), results)
    assert nothing_there(results)


def test_a_file_that_says_it_is_larger_than_the_archive_is_refused(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "sparse.tar"
    header = tarfile.TarInfo("a")
    header.size = 10**13
    file.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + b"x" * 512)
    with pytest.raises(InputError, match=r"is no whole archive of a run"):
        import_(file, results)
    header.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": str(10**13),
    }
    header.size = 512
    file.write_bytes(header.tobuf(tarfile.PAX_FORMAT) + b"0\n" + b"\0" * 510 + b"\0" * 1024)
    with pytest.raises(InputError, match=r"is no whole archive of a run"):
        import_(file, results)
    assert nothing_there(results)


@pytest.mark.parametrize("folder", ["..", "a/b", "/x", "", ".hidden", "a\nb", "x" * 300])
def test_a_manifest_names_no_folder_elsewhere(results: Path, tmp_path: Path, folder: str) -> None:
    text = '{"schema_version": 1, "folder": %s, "exported_at": "", "harness_version": "", "files": {}}'
    content = (text % json.dumps(folder)).encode()
    file = tmp_path / "a.tar"
    with tarfile.open(file, "w") as archive:
        last = tarfile.TarInfo(MANIFEST)
        last.size = len(content)
        archive.addfile(last, io.BytesIO(content))
    with pytest.raises(InputError, match=r"no manifest that this harness reads"):
        import_(file, results)
    assert nothing_there(results)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=3000))
def test_no_bytes_are_a_traceback(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "any.tar"
    file.write_bytes(content)
    with pytest.raises(InputError):
        import_(file, tmp_path / "results")


def test_a_link_in_the_run_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "secret").symlink_to("/etc/passwd")
    try:
        with pytest.raises(InputError, match=r"is a link"):
            export(run, tmp_path / "a.tar", run.parent)
    finally:
        (run / "secret").unlink()
    assert not list(tmp_path.iterdir())


def test_a_link_as_the_archive_is_refused(archive: Path, results: Path, tmp_path: Path) -> None:
    (tmp_path / "link.tar").symlink_to(archive)
    with pytest.raises(InputError, match=r"is a link"):
        import_(tmp_path / "link.tar", results)


def test_from_a_read_only_mount(run: Path, tmp_path: Path, results: Path) -> None:
    with read_only(run.parent):
        export(run, tmp_path / "a.tar", run.parent)
    assert import_(tmp_path / "a.tar", results).name == run.name


def test_a_full_disk_leaves_nothing(archive: Path, results: Path) -> None:
    results.mkdir()
    with mounted(results, "-t", "tmpfs", "-o", f"size={archive.stat().st_size // 8192 * 4}k", "none"):
        with pytest.raises(HarnessError, match=r"can't be written .*make room"):
            import_(archive, results)
        assert nothing_there(results)
