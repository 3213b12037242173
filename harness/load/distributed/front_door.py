"""Where load processes of other machines come in, from a network that anybody may be on.

Locust's master itself listens on a Unix socket only. Here connections are counted, with a limit for all and
for one address, and their bytes are passed on; one that hasn't said anything that the master answers is the
first to leave for a newcomer, and ZeroMQ ends it after a while.
"""

from __future__ import annotations

import errno
import resource
import socket
from contextlib import suppress

import gevent
from gevent import socket as green

from harness.guests import Guests, Pace, address_of

_PIECE = 1 << 16
_GREETING_BYTES = 64
"""What ZeroMQ sends to anybody. With a secret, the next byte is for who knows it."""
_BREATH_S = 0.1
_FILES = 8192
"""A connection takes three descriptors."""
_AT_ONCE, _PER_S = 300, 20.0
"""Connections of one address: a process that waits for the next point tries again each second or so."""


class FrontDoor:
    """Passes connections at `host`:`port` on to the Unix socket `inside`, for `of` load processes and more
    that wait. Raises OSError where the address can't be listened on."""

    def __init__(self, host: str, port: int, inside: str, of: int) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = _FILES if most == resource.RLIM_INFINITY else min(_FILES, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
        self._guests = Guests(min(max(256, 4 * of), max(8, (files - 128) // 3)), max(32, 2 * of))
        self._pace = Pace(_AT_ONCE + 2 * of, _PER_S)
        self._inside = inside
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = green.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, port))
        self._listener.listen(128)
        gevent.spawn(self._accept)

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._guests.dismiss()
                gevent.sleep(_BREATH_S)
                continue
            address = address_of(peer)
            if self._pace.take(address) and self._guests.enter(connection, address):
                gevent.spawn(self._serve, connection)
            else:
                connection.close()
            gevent.sleep(0)

    def _serve(self, connection: green.socket) -> None:
        inside = green.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
            inside.connect(self._inside)
            there = gevent.spawn(_carry, connection, inside)
            self._carry_back(inside, connection)
            there.join()
        except OSError:
            pass  # one of the two is gone
        finally:
            self._guests.leave(connection)
            connection.close()
            inside.close()

    def _carry_back(self, inside: green.socket, connection: green.socket) -> None:
        sent = 0
        with suppress(OSError):
            while piece := inside.recv(_PIECE):
                connection.sendall(piece)
                sent += len(piece)
                if sent > _GREETING_BYTES:
                    self._guests.serve(connection)
        _end(connection, inside)


def _carry(source: green.socket, to: green.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            to.sendall(piece)
    _end(source, to)


def _end(*sockets: green.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
