"""Several Tritons of somebody else's, each on an address of its own, with the same ports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness.triton.their_repository import TheirRepository
from tests.ports import free_port
from tests.triton import their_models
from tests.triton.open_server import OpenServer

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


NAPS = "import time\ntime.sleep({})\nreturn self.said(y=2 * self.given(request, 'x'))"


class Fleet(NamedTuple):
    servers: list[OpenServer]

    @property
    def urls(self) -> list[str]:
        return [f"http://{server.address}" for server in self.servers]

    @property
    def way(self) -> tuple[str, ...]:
        return "--url", ",".join(self.urls), "--grpc-port", str(self.servers[0].grpc_port)


@contextmanager
def fleet(folder: Path, *nap_s: float, more: str = "", second_s: float | None = None) -> Iterator[Fleet]:
    """Servers whose model `naps` takes so long: nothing else of it is different, and nobody can see it.
    `second_s`: how long its version 2 takes, which is served beside the first."""
    http, grpc = free_port(), free_port()
    with ExitStack() as stack:
        servers = []
        for host, nap in zip(HOSTS, nap_s, strict=False):
            repository = folder / host / "models"
            model = partial(their_models.python, repository, max_batch=4, takes_s=0)
            given, said = {"x": ("FP32", "4")}, {"y": ("FP32", "4")}
            if second_s is not None:
                more = "version_policy: { all { } }\n"
                model("naps", NAPS.format(second_s), given, said)
                (repository / "naps" / "1").rename(repository / "2")
                (repository / "naps" / "config.pbtxt").unlink()
                (repository / "naps").rmdir()
            model("naps", NAPS.format(nap), given, said, more=more)
            if second_s is not None:
                (repository / "2").rename(repository / "naps" / "2")
            their_models.sequences(repository, "direct", "direct { }")
            theirs = TheirRepository.at(repository)
            none, log = folder / host / "none", folder / host / "triton.log"
            server = OpenServer(none, log, theirs=theirs, host=host, http_port=http, grpc_port=grpc)
            stack.enter_context(server).start(theirs.entry("naps", None))
            servers.append(server)
        yield Fleet(servers)
