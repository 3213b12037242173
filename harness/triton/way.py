"""The way to a server that isn't ours: what its control interface and its endpoint for inference share."""

from __future__ import annotations

from harness import headers
from harness.schema.frozen import Frozen
from harness.tls import Tls, context_of
from harness.triton.control import Control

TIMEOUT_S = 10.0


class Way(Frozen):
    """To its HTTP endpoint, or through a proxy before it."""

    host: str
    port: int
    prefix: str = ""
    """What stands before every path."""
    tls: Tls | None = None
    with_headers: bool = False
    """Whether the user's own headers go with each request (`harness.headers`). What they are isn't kept."""

    def control(self) -> Control:
        """Raises InputError for TLS that can't be had."""
        return Control(
            self.host,
            self.port,
            timeout_s=TIMEOUT_S,
            headers=dict(headers.given()) if self.with_headers else None,
            prefix=self.prefix,
            tls=None if self.tls is None else context_of(self.tls, "http/1.1"),
        )
