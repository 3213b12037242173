from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.triton.embedded import EmbeddedServer
from tests.load.triton_models import tiny_triton


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """One server for every test that leaves it alive."""
    with tiny_triton(tmp_path_factory.mktemp("triton")) as server:
        yield server
