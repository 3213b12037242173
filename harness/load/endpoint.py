"""Where requests are sent, and how: what a plan, a user and the regions of shared memory all need to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from harness import headers
from harness.address import Address, Url
from harness.schema.errors import InputError
from harness.schema.frozen import Frozen
from harness.schema.scenario import Compression, Protocol
from harness.schema.tensors import Tensors
from harness.tls import Tls

if TYPE_CHECKING:
    from harness.load.wire import Connection
    from harness.load.wire.grpc.grpc_channel import Channels


class Endpoint(Frozen):
    """One of a Triton's endpoints for inference."""

    protocol: Protocol
    host: str
    """A name or a number; IPv6 without brackets."""
    at: str | None = None
    """Which of the numbers of the host is meant, where it has several."""
    port: Annotated[int, Field(ge=0, lt=1 << 16)]
    timeout_s: Annotated[float, Field(gt=0, le=1e9)]
    """Bounds each call, connecting included."""
    tls: Tls | None = None
    """How it speaks TLS; its files are read by each load process, on its own machine."""

    prefix: Annotated[str, Field(max_length=1024)] = ""
    """What stands before HTTP's paths, as a proxy asks: "/triton"."""
    compression: Compression | None = None
    """Of each request."""
    with_headers: bool = False
    """Whether the user's own headers go with each request (`harness.headers`)."""

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)

    def prepare(
        self,
        model: str,
        inputs: Tensors,
        outputs: Sequence[str],
        *,
        version: str = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The bytes of a request that a connection can send any number of times; no outputs means all."""
        from harness.load.wire import prepare  # tritonclient takes half a second to import

        host = str(self.address)
        return prepare(
            self.protocol,
            model,
            inputs,
            outputs,
            host,
            version=version,
            prefix=self.prefix,
            parameters=parameters,
            compression=self.compression,
        )

    def open(self, channels: Channels | None = None) -> Connection:
        """A connection to it, as `harness.load.wire.open_connection` makes it."""
        from harness.load.wire import open_connection

        own = headers.given() if self.with_headers else ()
        if self.with_headers and not own:
            raise InputError(
                f"the run sends headers of its own, and there are none here: set {headers.VARIABLE} to them"
            )
        return open_connection(
            self.protocol,
            self.host,
            self.port,
            self.timeout_s,
            self.tls,
            channels,
            own,
            self.compression,
            self.at,
        )


def parsed_host(text: str | None) -> Address:
    """The address in what people give as Locust's `--host`: "http://127.0.0.1:8000", "grpc://127.0.0.1:8001",
    "[::1]:8000". Raises InputError."""
    with suppress(ValueError):
        scheme, address, path = Url.parse(text or "")
        if scheme in ("", "http", "grpc") and path in ("", "/"):
            return address
    raise InputError(f"--host {text or ''!r} is no address of a Triton: give name:port, without TLS")
