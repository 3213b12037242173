from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.schema.model import ModelArtifact
from harness.triton.embedded import EmbeddedServer
from tests.triton import models


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelArtifact]:
    folder = tmp_path_factory.mktemp("models")
    made = [f(folder) for f in (models.double, models.slow, models.every_type, models.reshaper)]
    return {artifact.name: artifact for artifact in made}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """One server for every test that leaves it alive."""
    folder = tmp_path_factory.mktemp("server")
    with EmbeddedServer(folder / "repository", folder / "triton.log") as running:
        yield running


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Repository and log of a test's own server."""
    return tmp_path / "repository", tmp_path / "triton.log"
