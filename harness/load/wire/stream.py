"""A TCP connection on gevent's event loop, one system call a send and one a receive.

gevent's own socket tries each `recv` before it waits, and makes a Timeout object for each wait; together
they cost as much as all the rest of a request (34 us against 15 us a round trip, measured). A caller here
always knows that the answer isn't there yet, so it waits first; and one timer per call bounds all its waits.
A wait is a switch to the event loop and back, without the Waiter of `Hub.wait`, which makes sure that nothing
else has woken the greenlet: whoever waits here looks again.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent.socket
from gevent import get_hub, getcurrent
from gevent.monkey import get_original

from harness.address import is_unix

if TYPE_CHECKING:
    from typing import TypeAlias

    Buffer: TypeAlias = bytes | bytearray | memoryview

_READ, _WRITE = 1, 2
_DROP = socket.MSG_TRUNC | socket.MSG_DONTWAIT
_PATIENCE = struct.pack("@ll", 0, 10_000)
"""A struct timeval of 10 ms: short beside a user's patience, long beside a fast answer."""
_MOST_BUFFERS = 512
"""Below the kernel's limit of vectors in one sendmsg (1024)."""

_sink = bytearray(1 << 20)
"""Where bytes that nobody keeps may be read to; shared, because nothing reads it."""


class Expired(Exception):
    """The deadline of a call passed."""


class Deadline:
    """Throws Expired into the greenlet that started it, `seconds` later, unless stopped before.

    The event loop's timer is left alone by a start and a stop, which are a request's: when it rings it is set
    to what is then left, and not at all where nobody waits.
    """

    __slots__ = ("_due", "_greenlet", "_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due = 0.0
        self._greenlet: Any = None
        self._timer: Any = None

    def start(self) -> None:
        self._due = monotonic() + self._seconds
        self._greenlet = getcurrent()
        if self._timer is None:
            self._set(self._seconds)

    def stop(self) -> None:
        self._greenlet = None

    def check(self) -> None:
        """Raise Expired where it has passed: for whoever may read for ever without the event loop's turn."""
        if monotonic() >= self._due:
            raise Expired

    def close(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def _set(self, seconds: float) -> None:
        self._timer = get_hub().loop.timer(seconds)
        self._timer.start(self._rang)

    def _rang(self) -> None:
        """Early, too, where the event loop was busy when the timer was set: it counts from its last turn."""
        self.close()
        if self._greenlet is None:
            return
        left = self._due - monotonic()
        if left > 0:
            self._set(left)
        else:
            self._greenlet.throw(Expired)


class Stream:
    """A connected socket. Every method may raise OSError, and Expired where a Deadline is running."""

    has_more = False
    """There may be bytes to `receive_now` that the event loop can't see."""

    def __init__(self, host: str, port: int) -> None:
        hub = get_hub()
        self._until_woken = hub.switch
        self._socket = _connected(host, port)
        if self._socket.family != socket.AF_UNIX:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._readable = hub.loop.io(self._socket.fileno(), _READ)
        self._writable = hub.loop.io(self._socket.fileno(), _WRITE)
        self._patient = False

    def wait_in_kernel(self) -> None:
        """From now on wait for an answer in the kernel for a while, before the event loop is asked to.

        Where nobody else in this process has anything to do meanwhile, an answer that comes soon then costs
        one system call instead of three and a turn of the loop.
        """
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
        self._socket.setblocking(True)
        self._patient = True

    def on_readable(self, read: Callable[[], None]) -> None:
        """Have the event loop call `read` whenever bytes have come; nobody may wait for them any more."""
        self._readable.start(read)

    def send_now(self, data: Buffer) -> int:
        """Hand to the kernel what it takes of `data` without waiting; how many bytes."""
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def send(self, data: Buffer) -> None:
        """Hand all of `data` to the kernel."""
        sent = self.send_now(data)
        if sent != len(data):
            self._send_rest(memoryview(data)[sent:])

    def _wait(self, watcher: Any) -> None:
        """Until `watcher` sees something, or for no reason."""
        watcher.start(getcurrent().switch)
        try:
            self._until_woken()
        finally:
            watcher.stop()

    def _send_rest(self, rest: memoryview) -> None:
        while rest:
            self._wait(self._writable)
            with suppress(BlockingIOError):
                rest = rest[self._socket.send(rest, socket.MSG_DONTWAIT) :]

    def send_all(self, buffers: Sequence[Buffer]) -> None:
        """Hand all the buffers to the kernel, in order, without joining them."""
        for first in range(0, len(buffers), _MOST_BUFFERS):
            self._gather(buffers[first : first + _MOST_BUFFERS])

    def _gather(self, buffers: Sequence[Buffer]) -> None:
        try:
            sent = self._socket.sendmsg(buffers, (), socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        if sent == sum(map(len, buffers)):
            return
        for buffer in buffers:
            if sent < len(buffer):
                self.send(memoryview(buffer)[sent:])
            sent = max(0, sent - len(buffer))

    def receive_into(self, view: memoryview | bytearray) -> int:
        """Wait for bytes and read them into `view`; 0 when the peer has closed."""
        if self._patient:
            try:  # and not suppress(), which costs as much as the rest of this method
                return self._socket.recv_into(view)
            except BlockingIOError:
                pass
        while True:
            self._wait(self._readable)
            try:
                return self._socket.recv_into(view, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:  # readiness may be false, select(2) says
                continue

    def receive_now(self, view: memoryview | bytearray) -> int:
        """As `receive_into`, but raises BlockingIOError where it would have to wait."""
        return self._socket.recv_into(view, 0, socket.MSG_DONTWAIT)

    def discard(self, size: int) -> int:
        """Wait for bytes and drop `size` of them at most; how many; 0 when the peer has closed."""
        while True:
            self._wait(self._readable)
            with suppress(BlockingIOError):
                return self.discard_now(size)

    def discard_now(self, size: int) -> int:
        """As `discard`, but raises BlockingIOError where it would have to wait."""
        # tcp(7): with MSG_TRUNC the bytes are dropped and not copied. A system that copies them all the same
        # finds room for them.
        return self._socket.recv_into(_sink, min(size, len(_sink)), _DROP)

    def close(self) -> None:
        self._readable.close()
        self._writable.close()
        self._socket.close()


@lru_cache
def _addresses(host: str, port: int) -> list[Any]:
    """Resolved once a process: the resolver is a thread, whose turn a busy machine may put off for long."""
    if is_unix(host):
        return [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", host)]
    found: list[Any] = gevent.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return found


def _connected(host: str, port: int) -> socket.socket:
    """A non-blocking socket to the first of the host's addresses that accepts."""
    plain = get_original("socket", "socket")
    code = errno.EADDRNOTAVAIL
    for family, kind, protocol, _, address in _addresses(host, port):
        tried: socket.socket = plain(family, kind, protocol)
        try:
            tried.setblocking(False)
            code = tried.connect_ex(address)
            if code == errno.EINPROGRESS:
                writable = get_hub().loop.io(tried.fileno(), _WRITE)
                try:
                    get_hub().wait(writable)
                finally:
                    writable.close()
                code = tried.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                return tried
        except BaseException:
            tried.close()
            raise
        tried.close()
    raise OSError(code, os.strerror(code))
