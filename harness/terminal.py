"""The one place that prints: whoever wrote what is printed, it can't act on the terminal it is printed to."""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from harness.plain_text import ascii_json, shown, shown_json, shown_lines
from harness.standard_streams import standing

if TYPE_CHECKING:
    from pydantic import BaseModel


def say(text: str) -> None:
    """One line on stdout."""
    print(shown(text), flush=True)


def tell(text: str) -> None:
    """One line on stderr."""
    print(shown(text), file=sys.stderr, flush=True)


def tell_lines(text: str) -> None:
    """Several lines on stderr."""
    print(shown_lines(text).rstrip("\n"), file=sys.stderr, flush=True)


def print_lines(text: str) -> None:
    """A text of several lines on stdout, as it is but for what would act."""
    print(shown_lines(text), end="", flush=True)


def print_json(document: BaseModel | dict[str, Any]) -> None:
    """One line of JSON on stdout, with the same content however it is read and whatever stdout's encoding."""
    text = json.dumps(document) if isinstance(document, dict) else document.model_dump_json()
    everything = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    print(shown_json(text) if everything else ascii_json(shown_json(text)), flush=True)


@contextmanager
def guarded() -> Iterator[None]:
    """For the time of the block, what Python prints by itself goes through here too: warnings, the log's last
    resort, and errors of threads and finalizers. Both streams can be written, as `standing` says."""
    before = warnings.showwarning, threading.excepthook, sys.unraisablehook, logging.lastResort
    warnings.showwarning, logging.lastResort = _warned, _LastResort(logging.WARNING)
    threading.excepthook = lambda failed: _failed(failed.exc_type, failed.exc_value, failed.exc_traceback)
    sys.unraisablehook = lambda failed: _failed(failed.exc_type, failed.exc_value, failed.exc_traceback)
    try:
        with standing():
            yield
    finally:
        warnings.showwarning, threading.excepthook, sys.unraisablehook, logging.lastResort = before


class _LastResort(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(self.format(record))


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - Python passes it
    line: str | None = None,
) -> None:
    tell_lines(warnings.formatwarning(str(message), category, filename, lineno, line))


def _failed(kind: type[BaseException], error: BaseException | None, where: Any) -> None:
    if kind is not SystemExit:
        tell_lines("".join(traceback.format_exception(kind, error, where)))
