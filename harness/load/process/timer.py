"""Sleeping until an exact time on gevent's loop.

libev waits in whole milliseconds (epoll_wait's unit), so `gevent.sleep` wakes up to a millisecond late, which
an open loop would count as latency. A Linux timerfd wakes within tens of microseconds.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time

from gevent import get_hub

_libc = ctypes.CDLL(None, use_errno=True)
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE = 1
_TIMESPECS = struct.Struct("qqqq")
"""struct itimerspec: interval, then first expiry, each in seconds and nanoseconds."""


class ExactTimer:
    """Wakes one greenlet at CLOCK_MONOTONIC times."""

    def __init__(self) -> None:
        self._file = _libc.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._hub = get_hub()
        self._readable = self._hub.loop.io(self._file, 1)

    def wait_until(self, at_ns: int) -> None:
        """Let other greenlets run until `at_ns`; returns at once when that is past."""
        spec = _TIMESPECS.pack(0, 0, *divmod(max(at_ns, 1), 1_000_000_000))
        if _libc.timerfd_settime(self._file, _ABSOLUTE, spec, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        self._hub.wait(self._readable)
        os.read(self._file, 8)

    def close(self) -> None:
        self._readable.close()
        os.close(self._file)
