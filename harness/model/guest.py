"""Code of the user's that runs in harness: what it raises is its fault, and what it prints goes to stderr.

It has all of the user's rights, and nothing here takes one away. But a model must not end a run as if all
were well, as a `sys.exit(0)` in it would, nor write into the document that `--json` prints.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

from harness.schema.errors import HarnessError, InputError

_OUT, _ERR = 1, 2


@contextlib.contextmanager
def guest(blamed: Callable[[BaseException], str]) -> Iterator[None]:
    """Run code of the user's in the block. What it raises becomes an InputError, in the words that `blamed`
    finds for it; an interrupt, and the errors of harness, stay what they are."""
    try:
        with _own_output():
            yield
    except (HarnessError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise InputError(blamed(error)) from error


def said(error: BaseException) -> str:
    """In words, on one line: its kind, and the first line of what it says."""
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0][:200]}" if first else type(error).__name__


@contextlib.contextmanager
def _own_output() -> Iterator[None]:
    """What the block writes to stdout goes to stderr; both are as they were afterwards, whatever it did."""
    streams, kept = (sys.stdout, sys.stderr), (_copy(_OUT), _copy(_ERR))
    if None in kept:  # started without one of them
        yield
        return
    for stream in streams:
        stream.flush()
    try:
        os.dup2(_ERR, _OUT)
        with open(_OUT, "w", buffering=1, closefd=False, errors="backslashreplace") as sys.stdout:
            yield
    finally:
        for own, copy in zip((_OUT, _ERR), kept, strict=True):
            os.dup2(copy, own)  # type: ignore[arg-type]
            os.close(copy)  # type: ignore[arg-type]
        sys.stdout, sys.stderr = map(_open, streams, (_OUT, _ERR))


def _copy(descriptor: int) -> int | None:
    try:
        return os.dup(descriptor)
    except OSError:
        return None


def _open(stream: TextIO, descriptor: int) -> TextIO:
    """The stream, or another in its place where it was closed."""
    return open(descriptor, "w", closefd=False) if stream.closed else stream
