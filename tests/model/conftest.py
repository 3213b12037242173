"""An empty cache of exports for each test; the wheels stay where they were downloaded."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from harness.cache import cache_dir
from harness.model.export import export
from harness.schema.model import ModelArtifact


def use_empty_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = cache_dir() / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    with suppress(FileExistsError):  # another process of the suite was first
        (folder / "wheels").symlink_to(wheels)
    monkeypatch.setenv("HARNESS_CACHE", str(folder))


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all processes of the suite, of which the first that asks makes an export."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exports"
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_empty_cache(folder, monkeypatch)
    return folder


@pytest.fixture(scope="session")
def minilm(session_cache: Path) -> ModelArtifact:
    """The real export of the real weights, made once for all tests."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("HARNESS_CACHE", str(session_cache))
        return export("minilm", base_dir=Path(), progress=lambda _: None)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "cache"
    use_empty_cache(folder, monkeypatch)
    yield folder
