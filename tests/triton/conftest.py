from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.schema.model import ModelArtifact
from harness.triton.embedded import EmbeddedServer
from tests.binary import tritonserver
from tests.docker import docker
from tests.triton import direct, models
from tests.triton.open_server import OpenServer

__all__ = ["docker", "tritonserver"]


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelArtifact]:
    folder = tmp_path_factory.mktemp("models")
    makers = (
        models.double,
        models.slow,
        models.every_type,
        models.reshaper,
        models.flat,
        models.product,
        models.determinants,
    )
    made = [make(folder) for make in makers]
    return {artifact.name: artifact for artifact in made}


@pytest.fixture(scope="module")
def backend() -> Iterator[SimpleNamespace]:
    """The backend's modules in this process; see `tests.triton.direct`."""
    with direct.imported() as modules:
        yield modules


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """One for every test that has it serve something; the process is a fresh one each time."""
    folder = tmp_path_factory.mktemp("server")
    with EmbeddedServer(folder / "repository", folder / "triton.log") as running:
        yield running


@pytest.fixture(scope="session")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenServer]:
    """Somebody else's, in which models can be loaded."""
    folder = tmp_path_factory.mktemp("open-server")
    with OpenServer(folder / "repository", folder / "triton.log") as running:
        yield running


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Repository and log of a test's own server."""
    return tmp_path / "repository", tmp_path / "triton.log"
