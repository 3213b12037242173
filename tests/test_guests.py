"""Newcomers get in, and who takes most has to leave for them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from harness.guests import Guests, Pace, address_of


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    pairs = [socket.socketpair() for _ in range(8)]
    yield [one for one, _ in pairs]
    for one, other in pairs:
        one.close()
        other.close()


def left(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


def test_who_has_most_leaves_for_a_newcomer(sockets: list[socket.socket]) -> None:
    guests = Guests(most=4, each=3)
    for connection, address in zip(sockets, ("honest", "many", "many", "many"), strict=False):
        assert guests.enter(connection, address)
    assert guests.enter(sockets[4], "new")
    assert [left(each) for each in sockets[:5]] == [False, True, False, False, False]
    assert guests.enter(sockets[5], "many"), "who has least is not pushed out by who has most"
    assert [left(each) for each in sockets[:6]] == [False, True, True, False, False, False]


def test_an_address_with_its_share_takes_from_itself_and_who_is_served_stays(
    sockets: list[socket.socket],
) -> None:
    guests = Guests(most=8, each=2)
    assert guests.enter(sockets[0], "a") and guests.enter(sockets[1], "a")
    guests.serve(sockets[0])
    assert guests.enter(sockets[2], "a")
    assert [left(each) for each in sockets[:3]] == [False, True, False]
    guests.serve(sockets[2])
    assert not guests.enter(sockets[3], "a"), "both are being served"
    guests.leave(sockets[2])
    assert guests.enter(sockets[4], "a")
    guests.dismiss()
    assert left(sockets[4]) and not left(sockets[0])
    guests.serve(sockets[0], False)
    guests.dismiss()
    assert left(sockets[0])


def test_a_pace_is_kept_for_each_address_and_the_addresses_are_bounded() -> None:
    pace = Pace(at_once=3, per_s=20)
    assert [pace.take("a") for _ in range(4)] == [True, True, True, False]
    assert pace.take("b")
    time.sleep(0.06)
    assert pace.take("a")
    for number in range(10_000):
        pace.take(str(number))
    assert len(pace._left) <= 5000


def test_what_counts_as_one_address() -> None:
    assert address_of(("10.0.0.1", 5)) == "10.0.0.1"
    assert address_of(("::ffff:10.0.0.1", 5, 0, 0)) == "10.0.0.1"
    assert address_of(("2001:db8::1", 5, 0, 0)) == address_of(("2001:db8::ffff:1", 6, 0, 0))
    assert address_of(("2001:db8:0:1::1", 5, 0, 0)) != address_of(("2001:db8::1", 5, 0, 0))
    assert address_of(("fe80::1%eth0", 5, 0, 2)) == "fe80::/64"
    assert address_of(b"") == address_of(()) == ""
