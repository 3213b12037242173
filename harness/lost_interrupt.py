"""Ctrl-C isn't lost where Python has nobody to raise it to.

A KeyboardInterrupt in what Python calls around a fork, or in a finalizer, is printed and passed over (its
documentation of sys.unraisablehook). A Ctrl-C that came while a server was being started was lost so.
"""

from __future__ import annotations

import signal
import sys
import threading
from _thread import interrupt_main
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_AGAIN_S = 0.05
"""Later, so that it isn't raised in the same place again."""


def raise_again(by: signal.Signals = signal.SIGINT) -> None:
    """From now on such an interrupt is raised a second time, in what the main thread does then.

    `by`: a signal whose handler raises it, and that isn't ignored.
    """
    before = sys.unraisablehook

    def hook(passed_over: UnraisableHookArgs, /) -> None:
        if not issubclass(passed_over.exc_type, KeyboardInterrupt):
            before(passed_over)
            return
        again = threading.Timer(_AGAIN_S, interrupt_main, [by])
        again.daemon = True
        again.start()

    sys.unraisablehook = hook
