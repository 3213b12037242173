"""TLS under the same gevent loop: what is handed over is encrypted, what is read is decrypted, nothing else.

The ssl module works on two memory buffers (docs.python.org, "SSL sockets"/"Memory BIO support") and never
sees the socket, so that waiting, deadlines and errors are those of the plain stream.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from harness.load.wire.connection import Fault
from harness.load.wire.stream import Stream
from harness.schema.samples import Status
from harness.tls import OPTIONS, Tls, context_of

if TYPE_CHECKING:
    from harness.load.wire.stream import Buffer

_RECORD_BYTES = 1 << 17
"""Encrypted before it is handed to the kernel, so that a large request isn't in memory twice."""


class TlsStream(Stream):
    """A connected, verified and encrypted stream. Every method may raise Fault besides what Stream's do."""

    def __init__(
        self, host: str, port: int, tls: Tls, protocol: str = "h2", *, at: str | None = None
    ) -> None:
        """To `host`, which is at the number `at` where that is given. `protocol`: what is spoken inside, by
        its name in TLS (ALPN)."""
        super().__init__(at or host, port)
        self._options = OPTIONS[protocol]
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._wire = memoryview(bytearray(_RECORD_BYTES))
        self._waste = memoryview(bytearray(_RECORD_BYTES))
        try:
            self._ssl = context_of(tls, protocol).wrap_bio(self._coming, self._going, server_hostname=host)
            # With a buffer it gives the count, which typeshed doesn't know.
            self._read: Callable[[int, Buffer], int] = self._ssl.read  # type: ignore[assignment]
            self._shaken = False
            self._until_done(self._ssl.do_handshake)
            self._shaken = True
            self._flush()
            chosen = self._ssl.selected_alpn_protocol()
            if protocol == "h2" and chosen != "h2":
                raise Fault(Status.PROTOCOL, "the server doesn't speak HTTP/2 over TLS: is it its gRPC port?")
        except BaseException:
            self.close()
            raise

    def send_now(self, data: Buffer) -> int:  # noqa: ARG002
        """Nothing: OpenSSL takes all of a record, whether the kernel does or not."""
        return 0

    def send(self, data: Buffer) -> None:
        view = memoryview(data)
        for at in range(0, len(view), _RECORD_BYTES):
            self._until_done(partial(self._ssl.write, view[at : at + _RECORD_BYTES]))
            self._flush()

    def send_all(self, buffers: Sequence[Buffer]) -> None:
        if sum(map(len, buffers)) <= _RECORD_BYTES:
            self.send(b"".join(buffers))
            return
        for buffer in buffers:
            self.send(buffer)

    def receive_into(self, view: memoryview | bytearray) -> int:
        return self._until_done(partial(self._read, len(view), view))

    def receive_now(self, view: memoryview | bytearray) -> int:
        return self._until_done(partial(self._read, len(view), view), wait=False)

    def discard(self, size: int) -> int:
        return self.receive_into(self._waste[:size])

    def discard_now(self, size: int) -> int:
        return self.receive_now(self._waste[:size])

    @property
    def has_more(self) -> bool:  # type: ignore[override]
        return bool(self._ssl.pending() or self._coming.pending)

    def _flush(self) -> None:
        if self._going.pending:
            encrypted = self._going.read()
            self._send_rest(memoryview(encrypted)[super().send_now(encrypted) :])

    def _until_done(self, step: Callable[[], int | None], wait: bool = True) -> int:
        """The step's value; whenever OpenSSL wants bytes first, they are read. 0 at the peer's end."""
        while True:
            try:
                return step() or 0
            except ssl.SSLWantReadError:
                if wait:
                    self._flush()
                    got = super().receive_into(self._wire)
                else:  # what it has to say goes out with the next request
                    got = super().receive_now(self._wire)
                if got:
                    self._coming.write(self._wire[:got])
                else:
                    self._coming.write_eof()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                if not self._shaken:
                    raise Fault(
                        Status.CONNECTION, "the server hung up in the TLS handshake: does it use TLS?"
                    ) from None
                return 0
            except ssl.SSLError as error:
                raise Fault(Status.CONNECTION, _explained(error, self._options)) from error


def _explained(error: ssl.SSLError, options: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate isn't trusted: {error.verify_message.rstrip('.')}; "
            f"give the CA that signed it with {options}-ca, and the name in it as the host"
        )
    reason = str(error.reason or error).replace("_", " ").lower()
    if "alert" in reason and ("certificate" in reason or "unknown ca" in reason):
        return (
            f"the server refuses the client's certificate ({reason}): give one that it trusts with "
            f"{options}-cert and {options}-key"
        )
    if reason in ("wrong version number", "packet length too long", "record layer failure", "http request"):
        if options == "--http":
            return "the server doesn't use TLS on this port: give its address with http://"
        return "the server doesn't use TLS on this port: leave --grpc-ca and --grpc-tls out"
    return f"TLS failed: {reason}"
