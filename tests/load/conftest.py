from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from harness.triton.embedded import EmbeddedServer
from tests.load.triton_models import tiny_triton


@pytest.fixture(scope="session")
def one_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], EmbeddedServer]]:
    """One server for every test that leaves it alive, and another after one that doesn't.

    Triton 2.51 itself can die of a gRPC client that goes away while it is answered (Triton's issue 8034), as
    a Locust does whose time is up; the next test shall not have to answer for that.
    """
    servers: list[EmbeddedServer] = []
    with ExitStack() as running:

        def alive() -> EmbeddedServer:
            if not servers or not servers[-1].process_ids():
                servers.append(running.enter_context(tiny_triton(tmp_path_factory.mktemp("triton"))))
            return servers[-1]

        yield alive


@pytest.fixture
def triton(one_triton: Callable[[], EmbeddedServer]) -> EmbeddedServer:
    return one_triton()
