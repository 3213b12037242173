"""stdout and stderr as harness writes them, in any encoding and whatever they lead to.

A result that can't be written is an error, but not where nobody reads it any more: the exit code then
says what it would have said. What is told on stderr is lost at worst, and never costs a measurement.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from harness.schema.errors import HarnessError

_OUT, _ERR = 1, 2


class OutputError(HarnessError):
    """What was to be printed on stdout can't be written."""


@contextmanager
def standing() -> Iterator[None]:
    """For the time of the block both streams can be written, and a character that their encoding lacks is
    written as its escape. A stream that somebody put in the place of one is left alone."""
    for descriptor in (0, _OUT, _ERR):  # a file that is opened later must not get the number of one of them
        _open_if_closed(descriptor)
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _stream(sys.stdout, _OUT), _stream(sys.stderr, _ERR)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Descriptor(io.FileIO):
    """A standard stream's descriptor. Once it can't be written, what follows is dropped."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._gone = False

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self._gone:
            return size
        try:
            while (written := super().write(data)) is None:  # somebody made it one that doesn't wait
                select.select([], [self], [])
        except BrokenPipeError:
            self._gone = True
        except OSError as error:
            self._gone = True
            if self.fileno() == _OUT:
                raise OutputError(
                    f"stdout can't be written ({error.strerror}): send it elsewhere; what was measured is "
                    "kept, and `harness report` prints it again"
                ) from error
        else:
            return written
        return size


def _open_if_closed(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        os.open(os.devnull, os.O_RDWR)


def _stream(before: TextIO | None, descriptor: int) -> TextIO:
    encoding, line_buffering, write_through = "utf-8", False, False
    if before is not None:
        if type(before) is not io.TextIOWrapper or _number(before) != descriptor:
            return before
        with suppress(OSError):
            before.flush()
        encoding, line_buffering = before.encoding, before.line_buffering
        write_through = before.write_through
    return io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(descriptor)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=line_buffering,
        write_through=write_through,
    )


def _number(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None
