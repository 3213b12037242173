"""A gRPC channel: the connection to a server that several users share, made anew after a failure."""

from __future__ import annotations

import struct
from collections import defaultdict, deque
from typing import TYPE_CHECKING

from gevent.lock import Semaphore

from harness.address import Address
from harness.descriptors import SHARED_BY
from harness.load.wire.grpc import http2
from harness.load.wire.grpc.grpc_answer import PREFIX_BYTES, Answer
from harness.load.wire.grpc.http2 import FRAME, WORD, Flag, Frame
from harness.load.wire.grpc.http2_connection import Http2Connection
from harness.load.wire.stream import Stream
from harness.load.wire.tls_stream import TlsStream
from harness.schema.scenario import Compression
from harness.tls import Tls

if TYPE_CHECKING:
    from harness.load.wire.stream import Buffer

Headers = tuple[tuple[str, str], ...]
"""Names and values."""
_To = tuple[str, int, Tls | None, Headers, Compression | None, str | None]

MOST_USERS = SHARED_BY
"""Users that share a channel. A connection costs the server more than a stream, so how many there are is part
of a load."""

LARGEST_SHARED = 16 * 1024
"""Users whose requests are larger should have a connection each: on a shared one a request waits until those
before it are with the kernel."""

_JOINED_BYTES = 16 * 1024
"""A request up to this is copied behind its head, which costs less than to hand over two buffers."""
_DATA = struct.Struct(">IBIBI")
"""Head of a DATA frame and the message's prefix (compressed, length) together."""
_PREFIX = struct.Struct(">BI")
_FRAMES_A_SEND = 128


class GrpcChannel:
    """Sends its users' requests over one connection, each as a stream of its own."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: Tls | None = None,
        headers: Headers = (),
        compression: Compression | None = None,
        at: str | None = None,
    ) -> None:
        """`headers` go with every request, which was prepared with this `compression`; `at` is which of the
        host's numbers is meant, where it has several. Raises InputError for TLS that can't be had."""
        self.host, self.port, self._at = host, port, at
        self.users = 0
        if tls is not None:
            tls.check()
        self._tls = tls
        self._connection: Http2Connection | None = None
        self._connecting = Semaphore(1)
        block = http2.stateless_block(
            [
                (":method", "POST"),
                (":scheme", "http" if tls is None else "https"),
                (":path", "/inference.GRPCInferenceService/ModelInfer"),
                (":authority", str(Address(host, port))),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", "harness"),
                *((("grpc-encoding", compression),) if compression else ()),
                *((name.lower(), value) for name, value in headers),
            ]
        )
        self._head = bytearray(http2.frame(Frame.HEADERS, Flag.END_HEADERS, 0, block)) + bytes(_DATA.size)
        self._compressed = int(compression is not None)
        self._data_at = len(self._head) - _DATA.size

    @property
    def connected(self) -> bool:
        return self._connection is not None and not self._connection.retired

    def connect(self, alone: bool) -> Http2Connection:
        """The connection, new if there is none to be used. Raises OSError and Fault."""
        with self._connecting:  # one of those who want it makes it
            if self._connection is None or self._connection.retired:
                self._connection = self._connected(alone)
            return self._connection

    def free(self, alone: bool) -> Http2Connection:
        """The connection, when nobody is in the middle of sending on it. Raises OSError and Fault."""
        while True:
            connection = self._connection
            if connection is None or connection.retired:
                connection = self.connect(alone)
            if not connection.turn.locked():
                return connection
            with connection.turn:
                pass

    def send(self, connection: Http2Connection, answer: Answer, prepared: Buffer, keep_body: bool) -> int:
        """Send for `answer`, on the connection that was just found `free`; the bytes handed over."""
        incoming = connection.incoming
        size = len(prepared) + PREFIX_BYTES
        if size > incoming.max_frame or size > incoming.window or size > incoming.initial_window:
            self._send_large(connection, answer, memoryview(prepared), keep_body)
            return len(self._head) + len(prepared)
        connection.begin(answer, keep_body)
        head, stream_id = self._head, answer.stream_id
        WORD.pack_into(head, 5, stream_id)
        _DATA.pack_into(
            head, self._data_at, size << 8, Flag.END_STREAM, stream_id, self._compressed, len(prepared)
        )
        incoming.window -= size
        if size <= _JOINED_BYTES:
            connection.send(incoming.take_owed() + head + prepared if incoming.owed else head + prepared)
        else:
            connection.send_all((incoming.take_owed(), bytes(head), prepared))
        return len(head) + len(prepared)

    def leave(self) -> None:
        """A user goes; the last one closes the connection."""
        self.users -= 1
        if self.users <= 0 and self._connection is not None:
            self._connection.close()

    def _connected(self, alone: bool) -> Http2Connection:
        # A gRPC server hangs up without a word on both.
        hint = "; if it asks for the client's certificate, give one with --grpc-cert and --grpc-key"
        if self._tls is None:
            hint = "; if it uses TLS, give its CA with --grpc-ca"
            stream = Stream(self._at or self.host, self.port)
        else:
            stream = TlsStream(self.host, self.port, self._tls, at=self._at)
        try:
            return Http2Connection(stream, hint, alone)
        except BaseException:
            stream.close()
            raise

    def _send_large(
        self, connection: Http2Connection, answer: Answer, message: memoryview, keep_body: bool
    ) -> None:
        """HEADERS, then DATA as the windows allow; while they don't, others have their turn."""
        rest = deque((memoryview(_PREFIX.pack(self._compressed, len(message))), message))
        left = len(message) + PREFIX_BYTES
        connection.begin(answer, keep_body)
        WORD.pack_into(self._head, 5, answer.stream_id)
        left = self._send_allowed(connection, answer, bytes(self._head[: self._data_at]), rest, left)
        while left and connection.wait_for_room(answer):
            with connection.turn:
                pass
            left = self._send_allowed(connection, answer, b"", rest, left)
        if left:  # answered before it was whole: the stream is half open
            connection.retire()

    def _send_allowed(
        self,
        connection: Http2Connection,
        answer: Answer,
        head: bytes,
        rest: deque[memoryview],
        left: int,
    ) -> int:
        """What the windows have room for of the `left` bytes in `rest`, after `head`; what is left then."""
        incoming = connection.incoming
        pending: list[Buffer] = [head] if head else []
        while left and not answer.ended_ns:
            if incoming.owed:  # new limits hold for the server only after their acknowledgement
                pending.append(incoming.take_owed())
            size = min(incoming.window, answer.window, left, incoming.max_frame)
            if size <= 0:
                break
            left -= size
            incoming.window -= size
            answer.window -= size
            pending.append(FRAME.pack(size << 8, 0 if left else Flag.END_STREAM, answer.stream_id))
            while size:
                part = rest[0][:size]
                pending.append(part)
                size -= len(part)
                rest[0] = rest[0][len(part) :]
                if not rest[0]:
                    rest.popleft()
            if len(pending) >= 2 * _FRAMES_A_SEND:
                connection.send_all(pending)
                pending = []
        if pending:
            connection.send_all(pending)
        return left


class Channels:
    """The shared channels of one process."""

    def __init__(self) -> None:
        self._by_server: defaultdict[_To, list[GrpcChannel]]
        self._by_server = defaultdict(list)

    def join(
        self,
        host: str,
        port: int,
        tls: Tls | None = None,
        headers: Headers = (),
        compression: Compression | None = None,
        at: str | None = None,
    ) -> GrpcChannel:
        """One with room for a user more, who is counted. Raises InputError for TLS that can't be had."""
        channels = self._by_server[host, port, tls, headers, compression, at]
        for channel in channels:
            if channel.users < MOST_USERS:
                break
        else:
            channel = GrpcChannel(host, port, tls, headers, compression, at)
            channels.append(channel)
        channel.users += 1
        return channel
