"""An answer that looks as the last one did is not taken apart; it must never be taken for what it isn't."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.load.wire import Reply
from harness.load.wire.grpc import http2
from harness.load.wire.grpc.grpc_answer import Answer
from harness.load.wire.grpc.grpc_channel import GrpcChannel
from harness.load.wire.grpc.grpc_connection import GrpcConnection
from harness.load.wire.grpc.http2 import FRAME, WORD, Flag, Frame
from harness.load.wire.grpc.incoming import Incoming
from harness.load.wire.grpc.response_templates import ResponseTemplates
from harness.schema.samples import Status
from tests.load.rogue import HEADERS, block, grpc_answers, on_stream, rogue_server, trailers

TIMEOUT_S = 5.0
REQUEST = b"message"
LONG = 300_000
"""Of a DATA frame that doesn't fit the buffer."""


def message(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


def answer(stream: int, data: bytes = b"hello", status: str = "0", window: int = 12) -> bytes:
    """As Triton gives it: all in one, and the window given back."""
    return b"".join(
        (
            on_stream(Frame.HEADERS, Flag.END_HEADERS, HEADERS)(stream),
            on_stream(Frame.DATA, 0, message(data))(stream),
            trailers(("grpc-status", status))(stream),
            http2.window_update(window),
        )
    )


def connection_to(port: int, timeout_s: float = TIMEOUT_S) -> tuple[GrpcConnection, GrpcChannel]:
    channel = GrpcChannel("127.0.0.1", port)
    return GrpcConnection(channel, timeout_s), channel


def incoming(channel: GrpcChannel) -> Incoming:
    assert channel._connection is not None
    return channel._connection.incoming


def calls(answers: list[bytes], forget: bool = False, keep_body: bool = False) -> list[Reply]:
    """The replies of one connection, or more where one was closed, to a server that gives these answers."""
    with rogue_server(grpc_answers(*answers), lambda c: c.close()) as port:
        connection, channel = connection_to(port)
        connection._may_send_again = lambda _: False  # type: ignore[method-assign]  # the first is judged
        replies = []
        for _ in answers:
            replies.append(connection.call(REQUEST, keep_body))
            if not connection.connected:
                break
            if forget:
                incoming(channel).familiar = ResponseTemplates()
        connection.close()
    return replies


def test_familiar_answers_are_known_again_with_times_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    take = Incoming._take

    def counted(
        self: Incoming, kind: int, flags: int, stream_id: int, answer: Answer | None, payload: memoryview
    ) -> None:
        if kind == Frame.DATA:
            taken.append(stream_id)
        take(self, kind, flags, stream_id, answer, payload)

    monkeypatch.setattr(Incoming, "_take", counted)
    answers = [
        answer(1),
        answer(3),
        answer(5, b"other"),
        answer(7, b"longer"),
        answer(9),
        answer(11, b"longer"),
    ]
    replies = calls(answers)
    assert [reply.status for reply in replies] == [Status.OK] * 6
    assert taken == [1, 7], "each size is taken apart once"
    updates = len(http2.window_update(12))  # are the connection's, and no part of an answer
    assert [reply.received_bytes for reply in replies] == [len(each) - updates for each in answers]
    for reply in replies:
        assert reply.sent_ns < reply.first_byte_ns <= reply.completed_ns
        assert reply.sent_bytes == replies[0].sent_bytes > len(REQUEST)


def test_the_windows_that_familiar_answers_open_are_counted() -> None:
    count = 20
    with rogue_server(grpc_answers(*(answer(2 * n + 1, window=100_000) for n in range(count)))) as port:
        connection, channel = connection_to(port)
        request = bytes(10_000)  # 20 of them are more than the first window of 65,535 bytes
        assert all(connection.call(request).status is Status.OK for _ in range(count))
        assert incoming(channel).window == http2.DEFAULT_WINDOW + count * (100_000 - len(message(request)))
        connection.close()


def cut_here(data: bytes, *changes: tuple[int, bytes]) -> bytes:
    changed = bytearray(data)
    for at, new in changes:
        changed[at : at + len(new)] = new
    return bytes(changed)


GOOD = answer(7)
DATA_AT = len(http2.frame(Frame.HEADERS, 0, 7, HEADERS))
TRAILERS_AT = DATA_AT + FRAME.size + len(message(b"hello"))
SAME_SIZE: dict[str, tuple[Callable[[], bytes], Status, str]] = {
    "a refusal": (lambda: answer(7, status="8"), Status.REFUSED, "RESOURCE_EXHAUSTED"),
    "another stream": (
        lambda: answer(9),
        Status.PROTOCOL,
        "an answer on a stream that isn't open",
    ),
    "data of another stream": (
        lambda: cut_here(GOOD, (DATA_AT + 5, WORD.pack(9))),
        Status.PROTOCOL,
        "an answer on a stream that isn't open",
    ),
    "trailers of another stream": (
        lambda: cut_here(GOOD, (TRAILERS_AT + 5, WORD.pack(5))),
        Status.PROTOCOL,
        "an answer on a stream that isn't open",
    ),
    "an old answer again": (
        lambda: answer(5),
        Status.PROTOCOL,
        "an answer on a stream that isn't open",
    ),
    "a compressed message": (
        lambda: cut_here(GOOD, (DATA_AT + FRAME.size, b"\1")),
        Status.PROTOCOL,
        "a message that isn't as long as it says",
    ),
    "a message with another length": (
        lambda: cut_here(GOOD, (DATA_AT + FRAME.size + 4, b"\4")),
        Status.PROTOCOL,
        "a message that isn't as long as it says",
    ),
    "no end of the stream": (
        lambda: cut_here(GOOD, (TRAILERS_AT + 4, bytes([Flag.END_HEADERS]))),
        Status.CONNECTION,
        "the server closed the connection before the answer was whole",
    ),
    "going away instead of a window": (
        lambda: answer(7)[:TRAILERS_AT] + http2.frame(Frame.GOAWAY, 0, 0, bytes(len(GOOD) - TRAILERS_AT - 9)),
        Status.CONNECTION,
        "the server is going away: NO_ERROR",
    ),
    "a reset in the middle": (
        lambda: cut_here(GOOD, (DATA_AT, http2.frame(Frame.RST_STREAM, 0, 7, WORD.pack(2)))),
        Status.CONNECTION,
        "the server reset the stream: INTERNAL_ERROR",
    ),
    "half of it": (
        lambda: GOOD[: DATA_AT + 12],
        Status.CONNECTION,
        "the server closed the connection before the answer was whole",
    ),
    "nothing": (lambda: b"", Status.CONNECTION, "the server closed the connection without an answer"),
}


@pytest.mark.parametrize("case", SAME_SIZE)
def test_what_only_resembles_a_familiar_answer_is_an_error(case: str) -> None:
    wrong, status, why = SAME_SIZE[case]
    replies = calls([answer(1), answer(3), answer(5), wrong()])
    assert [reply.status for reply in replies[:3]] == [Status.OK] * 3
    assert (replies[3].status, replies[3].reason) == (status, why)


def test_a_familiar_answer_in_two_pieces_or_with_more_behind_it_is_read() -> None:
    ping = http2.frame(Frame.PING, 0, 0, b"12345678")
    answers = [
        answer(1),
        answer(3),
        answer(5) + ping,
        ping + answer(7),
        answer(9) + ping[:5],
        ping[5:] + answer(11),
    ]
    answers += [answer(13)]
    assert [reply.status for reply in calls(answers)] == [Status.OK] * 7


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_answer_is_judged_as_by_a_connection_that_has_forgotten(data: st.DataObject) -> None:
    changed = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 2))):
        changed[data.draw(st.integers(0, len(GOOD) - 1))] = data.draw(st.integers(0, 255))
    answers = [answer(1), answer(3), answer(5), bytes(changed)]
    ours, plain = (
        [(reply.status, reply.reason, reply.received_bytes) for reply in calls(answers, forget=forget)[1:]]
        for forget in (False, True)
    )
    assert ours == plain


# Long DATA frames, which are read in pieces.


def long_answer(stream: int, sizes: list[int], said: int | None = None) -> bytes:
    body = b"\0" + (sum(sizes) - 5 if said is None else said).to_bytes(4, "big")
    body += bytes(range(256)) * (sum(sizes) // 256 + 1)
    frames = [on_stream(Frame.HEADERS, Flag.END_HEADERS, HEADERS)(stream)]
    at = 0
    for size in sizes:
        frames.append(on_stream(Frame.DATA, 0, body[at : at + size])(stream))
        at += size
    return b"".join((*frames, trailers(("grpc-status", "0"))(stream)))


@pytest.mark.parametrize("keep_body", [True, False])
@pytest.mark.parametrize(
    "sizes", [[LONG], [5, LONG], [2, LONG, 3, LONG], [70_000] * 5, [http2.LARGEST_DATA, 1]], ids=str
)
def test_long_frames_are_read_in_full(sizes: list[int], keep_body: bool) -> None:
    answers = [long_answer(1, sizes), answer(3), long_answer(5, sizes), answer(7), answer(9)]
    replies = calls(answers, keep_body=keep_body)
    assert [(reply.status, reply.reason) for reply in replies] == [(Status.OK, None)] * 5
    assert replies[2].received_bytes == len(answers[2])
    if keep_body:
        body = replies[2].body
        assert body is not None and len(body) == sum(sizes) - 5
        assert body == (bytes(range(256)) * (sum(sizes) // 256 + 1))[: sum(sizes) - 5]
    else:
        assert replies[2].body is None


@pytest.mark.parametrize(
    ("frames", "status", "why"),
    [
        (long_answer(1, [LONG])[:-50_000], Status.CONNECTION, "before the answer was whole"),
        (long_answer(1, [LONG], said=LONG - 6), Status.PROTOCOL, "a message that isn't as long as it says"),
        (long_answer(1, [LONG], said=LONG), Status.PROTOCOL, "a message that isn't as long as it says"),
        (long_answer(1, [http2.LARGEST_DATA + 1]), Status.PROTOCOL, "the answer is not HTTP/2"),
        (long_answer(3, [LONG]), Status.PROTOCOL, "an answer on a stream that isn't open"),
        (
            on_stream(Frame.DATA, 0, bytes(LONG))(1),
            Status.PROTOCOL,
            "data outside of an answer",
        ),
        (
            on_stream(Frame.HEADERS, Flag.END_HEADERS, bytes(LONG))(1),
            Status.PROTOCOL,
            "the answer is not HTTP/2",
        ),
        (
            on_stream(Frame.HEADERS, Flag.END_HEADERS, block((":status", "200")))(1)
            + on_stream(Frame.DATA, Flag.PADDED, bytes(LONG))(1),
            Status.PROTOCOL,
            "the answer is not HTTP/2",
        ),
    ],
)
def test_long_frames_gone_wrong_are_errors(frames: bytes, status: Status, why: str) -> None:
    for keep_body in (False, True):
        (reply,) = calls([frames], keep_body=keep_body)
        assert reply.status is status and reply.reason is not None and reply.reason.endswith(why), reply


def test_a_stall_within_a_long_frame_is_a_timeout() -> None:
    stalled = long_answer(1, [LONG])[:-100_000]
    with rogue_server(grpc_answers(stalled, b"")) as port:
        connection, _ = connection_to(port, 0.4)
        reply = connection.call(REQUEST)
        connection.close()
    assert (reply.status, reply.reason) == (Status.TIMEOUT, "half an answer within 0.4 s")
