"""HTTP/2 frames, header blocks and gRPC messages on the load's connection."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import strategies as st

from harness.load.wire.connection import Fault
from harness.load.wire.grpc import http2
from harness.load.wire.grpc.grpc_channel import GrpcChannel
from harness.load.wire.grpc.grpc_connection import GrpcConnection
from harness.load.wire.grpc.http2 import FRAME, SETTING, Flag, Frame, Setting
from harness.load.wire.grpc.http2_connection import Http2Connection
from harness.schema.errors import ServerError
from tests.fuzz import fuzz, mutated, pieces
from tests.fuzz.answers import Pieces, check
from tests.load.rogue import DATA, END, HEADERS, START, answer_of, block, dynamic_block, trailers

LARGE = 300_000
"""Of a request that doesn't fit the windows."""

HELLO = http2.frame(Frame.SETTINGS, 0, 0)
REFUSED = block((":status", "200"), ("grpc-status", "3"), ("grpc-message", "no%20%e2%82%ac"))
PARTS = (
    HELLO,
    http2.frame(Frame.SETTINGS, Flag.ACK, 0),
    http2.frame(Frame.SETTINGS, 0, 0, SETTING.pack(Setting.INITIAL_WINDOW_SIZE, 10)),
    http2.frame(Frame.SETTINGS, 0, 0, SETTING.pack(Setting.MAX_FRAME_SIZE, 20_000) * 3),
    http2.frame(Frame.PING, 0, 0, b"12345678"),
    http2.frame(Frame.GOAWAY, 0, 0, (3).to_bytes(4, "big") + bytes(4) + b"debug"),
    http2.window_update(100_000),
    http2.frame(Frame.WINDOW_UPDATE, 0, 1, (1 << 30).to_bytes(4, "big")),
    http2.frame(Frame.RST_STREAM, 0, 1, (8).to_bytes(4, "big")),
    http2.frame(Frame.DATA, Flag.PADDED, 1, b"\3" + bytes(10)),
    http2.frame(Frame.DATA, 0, 1, bytes(100_000)),
    http2.frame(Frame.HEADERS, 0, 1, HEADERS[:3])
    + http2.frame(Frame.CONTINUATION, Flag.END_HEADERS, 1, HEADERS[3:]),
    http2.frame(Frame.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, 1, REFUSED),
    http2.frame(Frame.HEADERS, Flag.END_HEADERS | Flag.PRIORITY, 3, bytes(5) + HEADERS),
    http2.frame(Frame.HEADERS, Flag.END_HEADERS, 1, dynamic_block((":status", "200"), ("a", "b"))),
    http2.frame(Frame.PUSH_PROMISE, Flag.END_HEADERS, 1, bytes(4) + HEADERS),
    *(b"".join(answer_of(stream, b"hello")) for stream in (1, 3)),
    START(1) + DATA(1),
    END(1),
    trailers(("grpc-status", "14"))(3),
)

any_frame = st.builds(
    lambda kind, flags, stream, payload, more: (
        FRAME.pack(len(payload) + more << 8 | kind, flags, stream) + payload
    ),
    st.integers(0, 12),
    st.integers(0, 255),
    st.sampled_from([0, 1, 3, 2, 5, 0x80000001]),
    st.binary(max_size=40),
    st.sampled_from([0, 0, 0, 1, 70_000]),
)
frames = st.lists(st.sampled_from(PARTS) | any_frame, max_size=8).map(b"".join)


@fuzz(
    frames | mutated(*PARTS),
    st.lists(st.integers(0, 1 << 18), max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_frames_are_right_answers_or_failures_with_a_reason(
    said: bytes, cuts: list[int], keep_body: bool, large: bool
) -> None:
    stream = Pieces([HELLO, *pieces(said, cuts)])
    channel = GrpcChannel("127.0.0.1", 1)
    channel._connection = Http2Connection(stream, "", alone=True)
    connection = GrpcConnection(channel, 5)
    connection.alone = True
    request = bytes(LARGE) if large else b"message"
    for _ in range(3):
        if not connection.connected:
            break
        reply = connection.call(request, keep_body)
        check(reply, keep_body)
        if reply.body is not None:
            with suppress(ServerError):
                connection.decode(reply)
    assert len(channel._connection.incoming.owed) < 1 << 17
    assert stream.sent <= 3 * (LARGE + (LARGE >> 3) + 1000) + 20 * len(said) + 1000
    connection.close()


@fuzz(
    st.lists(mutated(HEADERS, REFUSED, block(("grpc-message", "%" * 200), ("grpc-status", "16"))), max_size=5)
)
def test_a_header_block_is_read_or_refused_whatever_was_before_it(blocks: list[bytes]) -> None:
    reader = http2.HeaderReader()
    for each in blocks:
        try:
            headers = reader.read(each)
        except Fault:
            continue
        assert headers.grpc_status is None or isinstance(headers.grpc_status, int)
        assert len(headers.grpc_message) <= 8192
