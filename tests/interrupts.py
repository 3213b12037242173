"""What a process that a test starts is to call first, so that it can be interrupted."""

from __future__ import annotations

import signal


def heed_sigint() -> None:
    """A shell starts what it runs in the background with SIGINT ignored, and so would be what that starts.

    To be given as `preexec_fn`.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
