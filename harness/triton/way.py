"""The way to a server that isn't ours: what its control interface and its endpoint for inference share."""

from __future__ import annotations

from harness import headers
from harness.address import Address, is_unix
from harness.schema.frozen import Frozen
from harness.tls import Tls, context_of
from harness.triton.control import Control

TIMEOUT_S = 10.0


class Way(Frozen):
    """To its HTTP endpoint, or through a proxy before it."""

    host: str
    port: int
    at: str | None = None
    """Which of the numbers of the host is meant, where it has several."""
    prefix: str = ""
    """What stands before every path."""
    tls: Tls | None = None
    with_headers: bool = False
    """Whether the user's own headers go with each request (`harness.headers`). What they are isn't kept."""

    @property
    def words(self) -> str:
        """Where it leads to: host and port, the number where the host has several, or a Unix socket."""
        if self.at is None:
            return str(Address(self.host, self.port))
        return self.at if is_unix(self.at) else str(Address(self.at, self.port))

    def leads_to(self, other: Way) -> bool:
        """Whether it ends where `other` does."""
        return (self.host, self.port, self.at) == (other.host, other.port, other.at)

    def control(self) -> Control:
        """Raises InputError for TLS that can't be had."""
        return Control(
            self.host,
            self.port,
            timeout_s=TIMEOUT_S,
            headers=dict(headers.given()) if self.with_headers else None,
            prefix=self.prefix,
            at=self.at,
            tls=None if self.tls is None else context_of(self.tls, "http/1.1"),
        )
