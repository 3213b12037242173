"""Who is connected to something that strangers reach: a limit in all, and no address more than its share.

A stranger that holds connections, as half-open ones or slow ones, takes from itself: a newcomer always gets
in, and who has to leave for it is of the address that has the most.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from harness.address import number


@dataclass(slots=True)
class _Guest:
    address: str
    served: bool = False
    since: float = field(default_factory=time.monotonic)


class Guests:
    """At most `most` connections, `each` of one address. For use by several threads."""

    def __init__(self, most: int, each: int) -> None:
        self._most, self._each = most, each
        self._all: dict[socket.socket, _Guest] = {}
        self._lock = threading.Lock()

    def enter(self, connection: socket.socket, address: str) -> bool:
        """Let a connection of `address` in; whether it is. Another is shut down where that is one too many.

        It isn't let in where no other can leave for it, as all are being served.
        """
        with self._lock:
            held = Counter(guest.address for guest in self._all.values())
            if held[address] >= self._each:
                leaver = self._first_of({address})
            elif len(self._all) >= self._most:
                leaver = self._first_of({a for a, count in held.items() if count == max(held.values())})
                leaver = leaver or self._first_of(set(held))
            else:
                self._all[connection] = _Guest(address)
                return True
            if leaver is None:
                return False
            del self._all[leaver]
            self._all[connection] = _Guest(address)
        _shut(leaver)
        return True

    def serve(self, connection: socket.socket, served: bool = True) -> None:
        """Note whether somebody is being served, who doesn't have to leave for a newcomer."""
        with self._lock:
            if (guest := self._all.get(connection)) is not None:
                guest.served = served

    def leave(self, connection: socket.socket) -> None:
        with self._lock:
            self._all.pop(connection, None)

    def dismiss(self) -> None:
        """Shut one down, of those who are not being served: this process has run out of something."""
        with self._lock:
            leaver = self._first_of({guest.address for guest in self._all.values()})
            if leaver is None:
                return
            del self._all[leaver]
        _shut(leaver)

    def _first_of(self, addresses: set[str]) -> socket.socket | None:
        """Who has been here longest without being served."""
        waiting = [
            (guest.since, connection)
            for connection, guest in self._all.items()
            if guest.address in addresses and not guest.served
        ]
        return min(waiting, key=lambda each: each[0])[1] if waiting else None


class Pace:
    """So many times at once for one address, and then `per_s`. For use by several threads."""

    _ADDRESSES = 4096

    def __init__(self, at_once: float, per_s: float) -> None:
        self._at_once, self._per_s = at_once, per_s
        self._left: dict[str, tuple[float, float]] = {}
        """What an address had left, and when."""
        self._lock = threading.Lock()

    def take(self, address: str) -> bool:
        """Whether it is within the pace."""
        now = time.monotonic()
        with self._lock:
            left, at = self._left.pop(address, (self._at_once, now))
            left = min(self._at_once, left + (now - at) * self._per_s)
            self._left[address] = (left - 1 if left >= 1 else left, now)
            if len(self._left) > self._ADDRESSES:
                self._left.pop(next(iter(self._left)))  # who was here longest ago
        return left >= 1


def address_of(peer: object) -> str:
    """What counts as one address of a socket's `peer`: of IPv6 the network, as anyone has 2**64 of those."""
    text = str(peer[0]) if isinstance(peer, tuple) and peer else ""
    address = number(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return text if address is None else str(address)


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # it has ended by itself
        connection.shutdown(socket.SHUT_RDWR)
