"""What the rest of harness knows of a Triton server, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from harness.address import Address
from harness.schema.model import Model
from harness.schema.point import ServerSettings
from harness.schema.served_model import Served, ServedModel
from harness.triton.control import Control
from harness.triton.statistics import Statistics
from harness.triton.way import Way


class Server(Protocol):
    """A Triton server that can serve one model at a time. Valid inside its `with`."""

    @property
    def mode(self) -> str:
        """ "embedded", "binary", "docker", another mode that it was started in, or "remote"."""

    @property
    def image(self) -> str | None:
        """Its container's image, with the digest; None where it runs in none of ours."""

    @property
    def command(self) -> tuple[str, ...] | None:
        """What started it; None where that wasn't us, and while it isn't running."""

    @property
    def host(self) -> str: ...

    @property
    def http_port(self) -> int: ...

    @property
    def address(self) -> Address:
        """`host` and `http_port`."""

    @property
    def grpc_port(self) -> int | None:
        """None where it isn't known. Ports may change at a restart: read them anew."""

    @property
    def metrics_port(self) -> int | None: ...

    @property
    def access(self) -> Mapping[str, str]:
        """Headers for those of its interfaces that are closed to others; new at a restart."""

    @property
    def version(self) -> str:
        """Triton's version; "" before it runs."""

    @property
    def backend(self) -> str:
        """Which implementation serves the model, in words."""

    @property
    def backend_version(self) -> str | None:
        """ONNX Runtime's; None before `serve` or where it can't be seen."""

    @property
    def execution_provider(self) -> str | None:
        """ONNX Runtime's name for what computes the served model; None before `serve` or where unknown."""

    @property
    def provider_options(self) -> dict[str, str] | None:
        """What that is configured with beyond its defaults; None where it is unknown."""

    @property
    def loaded(self) -> ServerSettings | None:
        """How the served model is configured where that was there before us; None where it is as asked."""

    @property
    def outputs(self) -> frozenset[str] | None:
        """What the served model gives, where that may be less than the model here has; None for all of it."""

    def describe(self, served: Served) -> ServedModel:
        """A model that the server has by itself, or that is in the repository it was given. Raises
        HarnessError where it hasn't it."""

    def serve(self, model: Model, settings: ServerSettings) -> str:
        """Serve the model with these settings; return its name in Triton, ready for requests. A server that
        isn't ours, and a model that isn't, keep what they leave open.

        Raises ServerError with Triton's own reason when it refuses.
        """

    def statistics(self, model: str, *, version: int | None = None, settled: bool = True) -> Statistics:
        """Triton's counters, of one version or of all together. `settled`: once the last answers are counted,
        as they are where it idles."""

    @property
    def way(self) -> Way:
        """How it is reached."""

    @property
    def url(self) -> str:
        """Of its HTTP endpoint."""

    @property
    def replicas(self) -> Sequence[Server]:
        """The servers that it is: several that are measured as one, or itself."""

    @property
    def control(self) -> Control:
        """Triton's control interface there."""

    def exit_reason(self) -> str | None:
        """Why the server is gone; None while its process lives (or can't be seen). Costs nothing."""

    def healthy(self) -> bool:
        """Ask the server whether it lives. One of our own that doesn't answer is ended."""

    def restart(self) -> None:
        """A fresh server process with the last served model in it. Raises ServerError where that can't be."""

    def process_ids(self) -> list[int]:
        """The server's process and those of its model instances; empty where they can't be seen."""
