"""A user for whom the modes of files count, also where the tests run as root."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION_3 = 0x20080522
_OVERRIDES = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""


@contextmanager
def modes_count() -> Iterator[None]:
    """For the time of the block, in this thread. A process that it starts may do again what root may."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("Ii", _VERSION_3, 0)
    before = ctypes.create_string_buffer(24)
    assert libc.capget(header, before) == 0
    effective, *others = struct.unpack("6I", before.raw)
    inside = struct.pack("6I", effective & ~_OVERRIDES, *others)
    assert libc.capset(header, inside) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert libc.capset(header, before.raw) == 0
