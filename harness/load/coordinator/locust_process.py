"""A Locust process in a session of its own, that can't outlive harness.

Locust patches the process that imports it, so it is never imported by harness itself.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import site
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.interpreter import python
from harness.load.plan import CHANNEL_VARIABLE
from harness.schema.errors import HarnessError

_PR_SET_PDEATHSIG = 1
_PARENT_VARIABLE = "HARNESS_LOAD_PARENT"
_EXIT_S = 10.0


def die_with_parent() -> None:
    """To be called by a load process: the load must not outlive the harness that asked for it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(os.environ.get(_PARENT_VARIABLE, os.getppid())):  # it died before the line above
        os._exit(1)


class LocustProcess:
    """`python -m` something that imports Locust."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._output = output
        # Locust reads options from LOCUST_*, ~/.locust.conf and its working folder: a user's must not change
        # this run. Packages that were installed for the user are still found where they are.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LOCUST_")}
        folder = output.parent.absolute()
        inherited |= {"PYTHONUSERBASE": site.getuserbase(), "HOME": str(folder)}
        inherited |= {_PARENT_VARIABLE: str(os.getpid())}
        try:
            with output.open("wb") as out:
                self._process = subprocess.Popen(
                    python("-m", *arguments),
                    env=inherited | dict(environment),
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    pass_fds=pass_fds,
                    start_new_session=True,
                )
        except OSError as error:
            raise HarnessError(
                f"the load process could not be started ({error.strerror}): run `harness doctor`"
            ) from error

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def gone(self) -> bool:
        return self._process.poll() is not None

    @property
    def succeeded(self) -> bool:
        """Whether it came to its end by itself; waits for it a while."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(_EXIT_S) == 0
        return False

    def exit_description(self) -> str:
        """How it ended, in its own last words where it had any; to be put after its name."""
        try:
            code = self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            return "closed its pipe and hung"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        lines = self._output.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        return f"ended with code {code}: {lines[-1][:300]}"

    def end(self, grace_s: float = 1.0) -> None:
        """Give it a moment where it is ending by itself, then kill it and what it started."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class PipedProcess(LocustProcess):
    """One that is led over two pipes, in lines of JSON."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> None:
        to_child, self._tell = os.pipe()
        self._hear, from_child = os.pipe()
        self._rest = b""
        self.over = False
        """Its end of the pipe is closed: it is gone, or about to go."""
        try:
            described = {CHANNEL_VARIABLE: f"{to_child},{from_child}"}
            super().__init__(arguments, dict(environment) | described, output, (to_child, from_child))
        except BaseException:
            os.close(self._tell)
            os.close(self._hear)
            raise
        finally:
            os.close(to_child)
            os.close(from_child)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._hear, selectors.EVENT_READ)

    def messages(self, wait_s: float) -> list[dict[str, Any]]:
        """What it says within `wait_s`."""
        if self.over or not self._selector.select(wait_s):
            return []
        got = os.read(self._hear, 1 << 16)
        self.over = not got
        *lines, self._rest = (self._rest + got).split(b"\n")
        return [json.loads(line) for line in lines]

    def tell(self, order: dict[str, Any]) -> None:
        try:
            os.write(self._tell, (json.dumps(order) + "\n").encode())
        except BrokenPipeError:
            self.over = True

    def end(self, grace_s: float = 1.0) -> None:
        os.close(self._tell)
        super().end(grace_s)
        self._selector.close()
        os.close(self._hear)
