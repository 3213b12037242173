"""A Locust process that harness leads, in a session of its own, that can't outlive harness."""

from __future__ import annotations

import json
import os
import selectors
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.child_process import exit_description, last_line
from harness.load.coordinator.fork_server import ForkServer

_EXIT_S = 10.0


class LocustProcess:
    """The `main` of `module`, which imports Locust."""

    def __init__(
        self,
        server: ForkServer,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        channel: Sequence[int] = (),
    ) -> None:
        self._output = output
        self._process = server.start(module, arguments, environment, output, channel)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def gone(self) -> bool:
        return self._process.poll() is not None

    @property
    def succeeded(self) -> bool:
        """Whether it came to its end by itself; waits for it a while."""
        try:
            return self._process.wait(_EXIT_S) == 0
        except TimeoutError:
            return False

    def exit_description(self) -> str:
        """How it ended, in its own last words where it had any; to be put after its name."""
        try:
            code = self._process.wait(_EXIT_S)
        except TimeoutError:
            return "closed its pipe and hung"
        if code < 0:
            return exit_description(code)
        return f"{exit_description(code)}: {last_line(self._output.read_text(errors='replace'))}"

    def end(self, grace_s: float = 1.0) -> None:
        """Give it a moment where it is ending by itself, then kill it and what it started."""
        try:
            self._process.wait(grace_s)
        except TimeoutError:
            self._process.kill()
            with suppress(TimeoutError):  # it is gone, and who should say so hangs
                self._process.wait(_EXIT_S)
        self._process.close()


class PipedProcess(LocustProcess):
    """One that is led over two pipes, in lines of JSON."""

    def __init__(
        self,
        server: ForkServer,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
    ) -> None:
        to_child, self._tell = os.pipe()
        self._hear, from_child = os.pipe()
        self._rest = b""
        self.over = False
        """Its end of the pipe is closed: it is gone, or about to go."""
        try:
            super().__init__(server, module, arguments, environment, output, (to_child, from_child))
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
