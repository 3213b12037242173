"""The process that reads the GPUs (`harness.probe.reader.reader`), as whoever started it sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.child_process import exit_description, last_line
from harness.interpreter import python
from harness.probe.reader.spool import Spool

START_S = 32.0
"""A little longer than the reader itself may take to open the driver."""
END_S = 2.0
"""How long the reader may take for its last reading; one that takes longer hangs."""
KILLED_S = 1.0
"""A process that the kernel can't end is left behind: it hangs in the driver."""
_LOOK_S = 0.005


class ReaderProcess:
    """`python -m harness.probe.reader.reader` that writes to `spool`, until it is ended or we are gone.

    Nothing here raises: what goes wrong is a sentence.
    """

    def __init__(self, spool: Path, arguments: Sequence[str] = ()) -> None:
        self.spool = spool
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: str | None = None
        try:
            with spool.open("wb") as out:
                self._process = subprocess.Popen(
                    python("-m", "harness.probe.reader.reader", *arguments),
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
        except OSError as error:
            self._failure = f"the GPU probe could not be started: {error.strerror}"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def wait_for_hello(self, limit_s: float = START_S) -> Spool:
        """What it has written, its first readings among it, once there is anything; else an empty spool."""
        give_up = time.monotonic() + limit_s
        while self._process is not None:
            spool = Spool.read(self.spool)
            over = self._process.poll() is not None
            if spool.hello is not None:
                return spool
            if over:
                break
            if time.monotonic() > give_up:
                self._failure = f"the GPU probe said nothing for {limit_s:g} s, so it was ended"
                self._kill()
                break
            time.sleep(_LOOK_S)
        return Spool()

    def end(self) -> str | None:
        """End it, with a last reading. Returns why it did not end by itself; None if it did."""
        if self._process is None or self._process.stdin is None:
            return self._failure
        already = self._process.poll()
        with suppress(OSError):
            self._process.stdin.close()
        hung = False
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            hung = True
            self._kill()
        if self._failure is None:
            self._failure = self._exit_description(hung, already is not None)
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._process = None
        return self._failure

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(KILLED_S)

    def _exit_description(self, hung: bool, early: bool) -> str | None:
        assert self._process is not None
        code = self._process.returncode
        if hung:
            return "the GPU probe hung, so it was ended"
        if code == 0 and not (early and not Spool.read(self.spool).ended):
            return None
        if code == -signal.SIGALRM:
            return "the GPU probe hung in the driver, so it ended itself"
        if code < 0:
            return f"the GPU probe {exit_description(code)}"
        return f"the GPU probe {exit_description(code)}: {self._last_words()}"

    def _last_words(self) -> str:
        stderr = self._process.stderr if self._process is not None else None
        if stderr is None:
            return last_line("")
        os.set_blocking(stderr.fileno(), False)
        return last_line((stderr.read() or b"").decode(errors="replace"))
