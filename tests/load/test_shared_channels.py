"""Users that share a connection: each gets its own answer, and what befalls one is not the others' fault."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import gevent
import numpy as np
import pytest
from gevent.greenlet import Greenlet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.load.wire import Connection, Reply, open_connection, prepare
from harness.load.wire.grpc import http2
from harness.load.wire.grpc.grpc_channel import MOST_USERS, Channels
from harness.load.wire.grpc.http2 import Flag, Frame, Setting
from harness.schema.samples import Status
from harness.triton.embedded import EmbeddedServer
from tests.load.rogue import Handler, answer_of, grpc_calls, on_stream, rogue_server

TIMEOUT_S = 5.0
SIX = [b"user %d" % n for n in range(MOST_USERS)]


@contextmanager
def users(port: int, count: int = MOST_USERS, timeout_s: float = TIMEOUT_S) -> Iterator[list[Connection]]:
    channels = Channels()
    joined = [open_connection("grpc", "127.0.0.1", port, timeout_s, channels=channels) for _ in range(count)]
    try:
        yield joined
    finally:
        for each in joined:
            each.close()


def at_once(joined: list[Connection], requests: list[bytes], keep_body: bool = True) -> list[Reply]:
    calls = [
        gevent.spawn(each.call, request, keep_body) for each, request in zip(joined, requests, strict=True)
    ]
    gevent.get_hub().loop.update_now()  # or the timeout counts from when the loop last woke, in another test
    gevent.joinall(calls, timeout=3 * TIMEOUT_S, raise_error=True)
    return [call.get(block=False) for call in calls]


def once_all_are_in(
    count: int, answer: Callable[[socket.socket, list[tuple[int, bytes]]], object]
) -> Handler:
    """Answer when `count` requests are there, and again; a request alone later is given back."""

    def handle(connection: socket.socket) -> None:
        waiting: list[tuple[int, bytes]] = []
        for call in grpc_calls(connection):
            waiting.append(call)
            if len(waiting) == count:
                answer(connection, waiting)
                waiting = []

    return handle


def echo(connection: socket.socket) -> None:
    for stream, message in grpc_calls(connection):
        connection.sendall(b"".join(answer_of(stream, message)))


def counted(handler: Handler) -> tuple[Handler, list[int]]:
    connections: list[int] = []

    def handle(connection: socket.socket) -> None:
        connections.append(connection.fileno())
        handler(connection)

    return handle, connections


def test_six_users_share_a_connection_and_a_seventh_brings_another() -> None:
    handler, connections = counted(echo)
    with rogue_server(handler) as port, users(port, MOST_USERS + 1) as joined:
        for _ in range(3):
            replies = at_once(joined, [*SIX, b"seventh"])
            assert [reply.body for reply in replies] == [*SIX, b"seventh"]
        assert len(connections) == 2
        joined.pop().close()
        assert [reply.body for reply in at_once(joined, SIX)] == SIX


def test_users_without_channels_have_a_connection_each() -> None:
    handler, connections = counted(echo)
    with rogue_server(handler) as port:
        joined = [open_connection("grpc", "127.0.0.1", port, TIMEOUT_S) for _ in SIX]
        assert [reply.body for reply in at_once(joined, SIX)] == SIX
        assert len(connections) == MOST_USERS
        for each in joined:
            each.close()


def test_who_leaves_takes_nothing_from_the_others() -> None:
    handler, connections = counted(echo)
    with rogue_server(handler) as port, users(port) as joined:
        at_once(joined, SIX)
        joined.pop().close()
        replies = at_once(joined, SIX[:-1])
        assert [reply.status for reply in replies] == [Status.OK] * (MOST_USERS - 1)
        assert len(connections) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.booleans(), st.booleans())
def test_answers_may_come_in_any_order_mixed_and_cut_anywhere(
    seed: int, keep_body: bool, mixed: bool
) -> None:
    chance = random.Random(seed)  # of the server's thread, which hypothesis doesn't follow

    def shuffled(connection: socket.socket, waiting: list[tuple[int, bytes]]) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = [answer_of(stream, message, str(message[-1] % 2)) for stream, message in waiting]
        said = b""
        while answers:
            index = chance.randrange(len(answers))
            said += answers[index].pop(0) if mixed else b"".join(answers.pop(index))
            answers = [each for each in answers if each]
            if chance.random() < 0.1:
                said += http2.window_update(1) + http2.frame(Frame.PING, 0, 0, b"12345678")
        while said:
            size = chance.randrange(1, len(said) + 1)
            connection.sendall(said[:size])
            said = said[size:]
            time.sleep(0.0005)

    with rogue_server(once_all_are_in(MOST_USERS, shuffled)) as port, users(port) as joined:
        for _ in range(3):
            replies = at_once(joined, SIX, keep_body)
            for reply, request in zip(replies, SIX, strict=True):
                refused = bool(request[-1] % 2)
                assert reply.status is (Status.REFUSED if refused else Status.OK)
                assert reply.reason == ("CANCELLED" if refused else None)
                assert reply.body == (request if keep_body and not refused else None)
                assert reply.sent_ns < reply.first_byte_ns <= reply.completed_ns
                assert reply.received_bytes == sum(map(len, answer_of(1, request, str(request[-1] % 2))))


def with_a_fault(fault: Callable[[int], bytes]) -> tuple[list[Reply], list[Reply], list[int]]:
    """Six calls, of which the third is answered with `fault`, the rest after it; six more; connections."""

    def answer(connection: socket.socket, waiting: list[tuple[int, bytes]]) -> None:
        (stream, _) = waiting[2]
        if stream > 2 * MOST_USERS:  # never in the second round, which is on a new connection
            raise AssertionError("the connection was used again")
        connection.sendall(fault(stream))
        time.sleep(0.05)
        for stream, message in waiting[:2] + waiting[3:]:
            connection.sendall(b"".join(answer_of(stream, message)))

    handler, connections = counted(once_all_are_in(MOST_USERS, answer))
    later, _ = counted(echo)
    with rogue_server(handler, later) as port, users(port) as joined:
        first = at_once(joined, SIX)
        assert not joined[0].connected
        second = at_once(joined, SIX)
    return first, second, connections


def statuses(replies: list[Reply]) -> list[Status]:
    return [reply.status for reply in replies]


OTHERS = [Status.OK] * 2, [Status.OK] * (MOST_USERS - 3)


def test_a_stream_that_is_reset_fails_alone() -> None:
    first, second, connections = with_a_fault(on_stream(Frame.RST_STREAM, 0, (7).to_bytes(4, "big")))
    assert statuses(first) == [*OTHERS[0], Status.CONNECTION, *OTHERS[1]]
    assert first[2].reason == "the server reset the stream: REFUSED_STREAM"
    assert [reply.body for reply in second] == SIX
    assert len(connections) == 1


def test_a_server_that_goes_away_answers_the_streams_that_it_took() -> None:
    def goaway(stream: int) -> bytes:
        return http2.frame(Frame.GOAWAY, 0, 0, (stream - 1).to_bytes(4, "big") + bytes(4))

    def answer(connection: socket.socket, waiting: list[tuple[int, bytes]]) -> None:
        connection.sendall(goaway(waiting[3][0]))
        for stream, message in waiting[:3]:
            connection.sendall(b"".join(answer_of(stream, message)))

    with rogue_server(once_all_are_in(MOST_USERS, answer), echo) as port, users(port) as joined:
        first = at_once(joined, SIX)
        assert statuses(first) == [Status.OK] * 3 + [Status.CONNECTION] * 3
        assert {reply.reason for reply in first[3:]} == {"the server is going away: NO_ERROR"}
        assert [reply.body for reply in at_once(joined, SIX)] == SIX


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (b"", "the server closed the connection"),
        (http2.frame(Frame.HEADERS, Flag.END_HEADERS, 99, b""), "an answer on a stream that isn't open"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(30), "the answer is not HTTP/2"),
    ],
)
def test_a_connection_that_ends_or_makes_no_sense_fails_all_that_wait(wrong: bytes, why: str) -> None:
    def answer(connection: socket.socket, waiting: list[tuple[int, bytes]]) -> None:
        stream, message = waiting[0]
        connection.sendall(
            b"".join(answer_of(stream, message)) + answer_of(waiting[1][0], b"half")[0] + wrong
        )
        time.sleep(0.05)
        connection.shutdown(socket.SHUT_RDWR)

    with rogue_server(once_all_are_in(MOST_USERS, answer), echo) as port, users(port) as joined:
        first = at_once(joined, SIX)
        assert first[0].status is Status.OK
        assert not {Status.OK, Status.TIMEOUT} & set(statuses(first[1:]))
        assert all(reply.reason is not None and reply.reason.startswith(why) for reply in first[1:])
        if not wrong:
            assert first[1].reason == "the server closed the connection before the answer was whole"
            assert first[2].reason == "the server closed the connection without an answer"
        assert [reply.body for reply in at_once(joined, SIX)] == SIX


@pytest.mark.parametrize("late", [0, 1, 2, 3])
def test_a_late_answer_is_one_users_timeout_and_nobody_elses(late: int) -> None:
    """The first `late` frames of it come in time, the rest when nobody waits any more."""

    def answer(connection: socket.socket, waiting: list[tuple[int, bytes]]) -> None:
        frames = answer_of(*waiting[0])
        connection.sendall(b"".join(frames[:late]))
        for stream, message in waiting[1:3]:
            connection.sendall(b"".join(answer_of(stream, message)))
        time.sleep(0.6)
        connection.sendall(b"".join(frames[late:]))
        for stream, message in waiting[3:]:
            connection.sendall(b"".join(answer_of(stream, message)))

    with rogue_server(once_all_are_in(MOST_USERS, answer), echo) as port:
        channels = Channels()
        joined = [
            open_connection("grpc", "127.0.0.1", port, 0.3 if n == 0 else TIMEOUT_S, channels=channels)
            for n in range(MOST_USERS)
        ]
        first = at_once(joined, SIX)
        expected = Status.OK if late == 3 else Status.TIMEOUT
        assert statuses(first) == [expected, *[Status.OK] * 5]
        if late < 3:
            assert first[0].reason == ("half an" if late else "no") + " answer within 0.3 s"
        assert [reply.body for reply in first[1:]] == SIX[1:]
        assert late == 3 or [reply.body for reply in at_once(joined[1:], SIX[1:])] == SIX[1:]
        for each in joined:
            each.close()


def test_a_late_answer_is_not_the_next_calls() -> None:
    """The user whose call timed out calls again; meanwhile the first answer comes, on the old connection."""

    def late(connection: socket.socket, waiting: list[tuple[int, bytes]]) -> None:
        time.sleep(1.3)
        for stream, _ in waiting:
            connection.sendall(b"".join(answer_of(stream, b"late")))

    def slow(connection: socket.socket) -> None:
        for stream, _ in grpc_calls(connection):
            time.sleep(0.5)
            connection.sendall(b"".join(answer_of(stream, b"right")))

    with rogue_server(once_all_are_in(2, late), slow) as port:
        channels = Channels()
        impatient, patient = (
            open_connection("grpc", "127.0.0.1", port, timeout_s, channels=channels)
            for timeout_s in (1.0, TIMEOUT_S)  # half a second more than an answer takes, on a busy machine
        )
        other = gevent.spawn(patient.call, b"patient", True)
        assert impatient.call(b"first", True).status is Status.TIMEOUT
        reply = impatient.call(b"second", True)
        assert (reply.status, reply.body) == (Status.OK, b"right")
        assert reply.latency_ms > 480
        assert other.get(timeout=TIMEOUT_S).body == b"late"
        for each in (impatient, patient):
            each.close()


def test_a_call_that_timed_out_is_cancelled_at_the_server() -> None:
    heard: list[tuple[int, bytes]] = []
    told = threading.Event()

    def listens(connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        stream.read(len(http2.PREFACE))
        connection.sendall(http2.frame(Frame.SETTINGS, 0, 0))
        while len(head := stream.read(9)) == 9:
            first, _, number = http2.FRAME.unpack(head)
            body = stream.read(first >> 8)
            if first & 0xFF == Frame.RST_STREAM:
                heard.append((number, body))
                told.set()
                connection.sendall(b"".join(answer_of(4 - number, b"patient")))

    with rogue_server(listens, echo) as port:
        channels = Channels()
        impatient, patient = (
            open_connection("grpc", "127.0.0.1", port, timeout_s, channels=channels)
            for timeout_s in (0.2, TIMEOUT_S)
        )
        first, second = at_once([impatient, patient], [b"impatient", b"patient"])
        assert first.status is Status.TIMEOUT
        assert (second.status, second.body) == (Status.OK, b"patient")
        assert told.is_set() and heard == [(1, (8).to_bytes(4, "big"))]
        for each in (impatient, patient):
            each.close()


def test_a_user_that_is_killed_takes_nothing_from_the_others() -> None:
    go_on = threading.Event()

    def answer(connection: socket.socket, waiting: list[tuple[int, bytes]]) -> None:
        go_on.wait()
        for stream, message in waiting:
            connection.sendall(b"".join(answer_of(stream, message)))

    with rogue_server(once_all_are_in(MOST_USERS, answer), echo) as port, users(port) as joined:
        calls: list[Greenlet] = [
            gevent.spawn(each.call, request, True) for each, request in zip(joined, SIX, strict=True)
        ]
        gevent.sleep(0.1)
        calls[1].kill()
        go_on.set()
        gevent.joinall(calls, timeout=TIMEOUT_S)
        replies = [call.value for n, call in enumerate(calls) if n != 1]
        assert [reply.body for reply in replies] == [SIX[0], *SIX[2:]]
        assert [reply.body for reply in at_once(joined, SIX)] == SIX


def test_the_peers_windows_hold_for_all_users_together() -> None:
    """Requests that are more than the connection's window together, and some that are more than it alone."""
    sizes = [30_000, 15_000, 70_000, 15_000, 200_000, 15_000]
    requests = [bytes([n]) * size for n, size in enumerate(sizes)]
    seen: Counter[int] = Counter()

    def narrow(connection: socket.socket) -> None:
        """Opens its windows every 20 ms, so that who sends more than they allow is far ahead of them."""
        stream = connection.makefile("rb")
        stream.read(len(http2.PREFACE))
        initial = http2.SETTING.pack(Setting.INITIAL_WINDOW_SIZE, 20_000)
        connection.sendall(http2.frame(Frame.SETTINGS, 0, 0, initial))
        allowed = Counter({0: http2.DEFAULT_WINDOW})
        got: dict[int, bytearray] = {}

        def open_windows() -> None:
            with suppress(OSError):
                while True:
                    time.sleep(0.02)
                    for number in list(allowed):
                        allowed[number] += 40_000
                        connection.sendall(
                            http2.frame(Frame.WINDOW_UPDATE, 0, number, http2.WORD.pack(40_000))
                        )

        threading.Thread(target=open_windows, daemon=True).start()
        while len(head := stream.read(9)) == 9:
            first, flags, number = http2.FRAME.unpack(head)
            body = stream.read(first >> 8)
            if first & 0xFF == Frame.HEADERS:
                assert number > max(got, default=0), "streams begin in order"
                allowed[number] = 20_000
                got[number] = bytearray()
            if first & 0xFF != Frame.DATA:
                continue
            got[number] += body
            for each in (0, number):
                allowed[each] -= len(body)
                assert allowed[each] >= 0, "more than the window"
            seen[number] += len(body)
            if flags & Flag.END_STREAM:
                del allowed[number]
                connection.sendall(b"".join(answer_of(number, bytes(got[number][5:]))))

    with rogue_server(narrow) as port, users(port) as joined:
        for _ in range(2):
            replies = at_once(joined, requests)
            assert [reply.reason for reply in replies] == [None] * MOST_USERS
            assert [reply.body for reply in replies] == requests
    assert sorted(seen.values()) == sorted(2 * [size + 5 for size in sizes])


def test_a_peer_that_does_not_read_is_every_users_error() -> None:
    def deaf(connection: socket.socket) -> None:
        connection.sendall(
            http2.frame(
                Frame.SETTINGS,
                0,
                0,
                http2.SETTING.pack(Setting.INITIAL_WINDOW_SIZE, 2**31 - 1)
                + http2.SETTING.pack(Setting.MAX_FRAME_SIZE, 2**24 - 1),
            )
            + http2.window_update(2**30)
        )
        time.sleep(3)

    with rogue_server(deaf) as port, users(port, timeout_s=0.4) as joined:
        began = time.monotonic()
        replies = at_once(joined, [bytes(30_000_000), *SIX[1:]])
        assert time.monotonic() - began < TIMEOUT_S
        assert replies[0].status is Status.TIMEOUT
        assert not {Status.OK} & set(statuses(replies))
        assert all(reply.reason for reply in replies)


def test_a_ping_is_answered_while_nobody_calls() -> None:
    heard = threading.Event()

    def pings(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(http2.frame(Frame.SETTINGS, 0, 0) + http2.frame(Frame.PING, 0, 0, b"abcdefgh"))
        got = b""
        while http2.frame(Frame.PING, Flag.ACK, 0, b"abcdefgh") not in got:
            got += connection.recv(4096)
        heard.set()
        connection.recv(1)

    with rogue_server(pings) as port, users(port) as joined:
        joined[0].connect()
        gevent.sleep(0.2)
        assert heard.is_set()


def test_a_server_that_hangs_up_between_calls_costs_none() -> None:
    def once(connection: socket.socket) -> None:
        for stream, message in grpc_calls(connection):
            connection.sendall(b"".join(answer_of(stream, message)))
            return

    with rogue_server(once, echo) as port, users(port, 1) as joined:
        for _ in range(3):
            assert joined[0].call(b"hello").status is Status.OK
            gevent.sleep(0.1)


def test_users_of_tritons_own_grpc_get_their_own_rows(triton: EmbeddedServer) -> None:
    rows = [np.full((1, 64), n, np.float32) for n in range(2 * MOST_USERS)]
    host = f"127.0.0.1:{triton.grpc_port}"
    requests = [prepare("grpc", "echo", {"X": row}, ["Y"], host) for row in rows]
    with users(triton.grpc_port, len(rows), timeout_s=30) as joined:
        for _ in range(20):
            replies = at_once(joined, requests)
            for each, reply, row in zip(joined, replies, rows, strict=True):
                assert reply.status is Status.OK, reply
                np.testing.assert_array_equal(each.decode(reply)["Y"], row)
