from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.schema.errors import HarnessError
from harness.triton import install


def test_this_machine_has_no_problem_and_nothing_is_downloaded_to_say_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "empty"))
    assert install.problems() == []
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize(
    ("system", "machine", "glibc", "remedy"),
    [
        ("Darwin", "arm64", None, "--url"),
        ("Linux", "aarch64", (2, 39), "--url"),
        ("Linux", "x86_64", None, "--url"),
        ("Linux", "x86_64", (2, 31), "Debian 12, Ubuntu 22.04"),
    ],
)
def test_wrong_platform_is_told_with_its_remedy(
    system: str, machine: str, glibc: tuple[int, int] | None, remedy: str
) -> None:
    problem = install.platform_problem(system, machine, glibc)
    assert problem is not None
    assert remedy in problem
    assert "\n" not in problem


def test_right_platforms_have_no_problem() -> None:
    assert install.platform_problem("Linux", "x86_64", (2, 35)) is None
    assert install.platform_problem("Linux", "x86_64", (3, 0)) is None


def test_python_without_a_stub_is_told() -> None:
    assert "3.14" in str(install.python_problem((3, 14)))
    assert "3.7" in str(install.python_problem((3, 7)))


def test_missing_libpython_is_told_with_the_package_that_brings_it() -> None:
    # No machine of ours has the shared library of a Python this old.
    problem = str(install.python_problem((3, 8)))
    assert "libpython3.8.so.1.0" in problem
    assert "apt-get install libpython3.8" in problem


def test_python_whose_stub_brings_its_own_libpython_needs_none() -> None:
    assert install.python_problem((3, 13)) is None


@pytest.mark.parametrize(
    "name", ["with blank", "quote'", "dollar$HOME", "semi;colon", "new\nline", "back`tick", "co:lon", "größe"]
)
def test_path_that_the_stubs_shell_would_misread_is_refused(name: str) -> None:
    assert "set X" in str(install.path_problem(Path("/tmp") / name, "the folder", "set X"))


@pytest.mark.parametrize("name", ["plain", "dots.and-dashes_1", "plus+equals=comma,"])
def test_path_that_the_stubs_shell_reads_as_it_is_passes(name: str) -> None:
    assert install.path_problem(Path("/tmp") / name, "the folder", "set X") is None


def test_provision_refuses_a_cache_that_the_stub_could_not_be_started_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "my cache"))
    with pytest.raises(HarnessError, match="HARNESS_CACHE"):
        install.provision()


@pytest.mark.triton
def test_backends_are_copies_and_the_programs_can_run() -> None:
    found = install.provision()
    assert os.access(found.server, os.X_OK)
    stub = found.backends / "python" / "triton_python_backend_stub"
    assert os.access(stub, os.X_OK)
    ours = found.backends / "onnxruntime"
    sources = {path.name for path in install.BACKEND_SOURCE.glob("*.py")}
    assert {path.name for path in ours.glob("*.py")} == sources - {"__init__.py"} >= {"model.py"}
    assert all(
        path.read_bytes() == (install.BACKEND_SOURCE / path.name).read_bytes() for path in ours.glob("*.py")
    )
    assert (found.caches / "local").is_dir()
    assert not [path for path in found.backends.rglob("*") if path.is_symlink()]
    assert install.provision() == found


@pytest.mark.triton
def test_backends_are_laid_out_anew_when_our_backend_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = install.provision()
    (tmp_path / "model.py").write_text(f"# {tmp_path}\n")
    monkeypatch.setattr(install, "BACKEND_SOURCE", tmp_path)
    after = install.provision()
    try:
        assert after.backends != before.backends
        assert (after.backends / "onnxruntime" / "model.py").read_text() == f"# {tmp_path}\n"
    finally:
        for path in sorted(after.backends.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        after.backends.rmdir()
