"""Load processes that start in milliseconds: forked from a process that has imported Locust beforehand.

Locust patches the process that imports it, so it is never imported by harness itself.
"""

from __future__ import annotations

import json
import os
import select
import signal
import site
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness.child_process import last_line
from harness.descriptors import raise_limit
from harness.interpreter import python
from harness.load.process.forked import ROOM
from harness.schema.errors import HarnessError

_START_S = 60.0
_END_S = 10.0
"""For its own end, once its imports have failed."""
_REMEDY = "run `harness doctor`"


class ForkServer:
    """Starts load processes, each in a session of its own, until its `with` ends; those still there then die.

    What it imports it begins to import now. It may be used by several threads, and lives no longer than the
    one that made it. Raises HarnessError where it can't be started.
    """

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        raise_limit()
        try:
            self._process = subprocess.Popen(
                python("-m", "harness.load.process.forked", str(theirs.fileno()), str(os.getpid()), ROOM),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            self._orders.close()
            raise HarnessError(
                f"the load process could not be started ({error.strerror}): {_REMEDY}"
            ) from error
        finally:
            theirs.close()

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        channel: Sequence[int] = (),
    ) -> Forked:
        """`python -m module arguments`, with these variables more, working in the folder of `output`.

        `channel`: two descriptors that the process gets; their numbers stand in its environment. Raises
        HarnessError where it doesn't start.
        """
        hear, spoken = os.pipe()
        order = {
            "module": module,
            "arguments": list(arguments),
            "environment": dict(environment) | {"HOME": str(output.parent.absolute())},
            "folder": str(output.parent.absolute()),
        }
        try:
            with output.open("wb") as out, self._lock:
                given = [spoken, out.fileno(), *channel]
                socket.send_fds(self._orders, [json.dumps(order).encode()], given)
        except OSError as error:
            os.close(hear)
            raise self._failed(error) from error
        finally:
            os.close(spoken)
        try:
            return Forked(hear)
        except HarnessError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """End it and what it has started. A second time it does nothing."""
        self._orders.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._process.kill()
        self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _failed(self, error: Exception) -> HarnessError:
        said = ""
        if self._process.stderr is not None and not self._process.stderr.closed:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
                said = self._process.stderr.read().decode(errors="replace").strip()
        why = last_line(said) if said else getattr(error, "strerror", None) or str(error)
        return HarnessError(f"the load process could not be started ({why}): {_REMEDY}")


class Forked:
    """A process that a ForkServer has started; it may be asked and ended as a subprocess.Popen."""

    def __init__(self, hear: int) -> None:
        """`hear`: a descriptor at which its number stands, and then how it ended; closed by `close`."""
        self._hear, self._rest = hear, b""
        self._facts: dict[str, int] = {}
        self._ready = select.poll()
        self._ready.register(hear, select.POLLIN)
        self._listen("pid", _START_S)
        if "pid" not in self._facts:
            os.close(hear)
            raise HarnessError("it did not come")
        self.pid = self._facts["pid"]
        self._handle: int | None = None
        with suppress(ProcessLookupError):
            self._handle = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it lives."""
        self._listen("status", 0.0)
        return self._facts.get("status")

    def wait(self, timeout_s: float) -> int:
        """Raises TimeoutError where it lives on."""
        self._listen("status", timeout_s)
        if "status" not in self._facts:
            raise TimeoutError
        return self._facts["status"]

    def kill(self) -> None:
        """It, and by that what it has started."""
        if self._handle is not None and "status" not in self._facts:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def close(self) -> None:
        """Once it is gone."""
        os.close(self._hear)
        if self._handle is not None:
            os.close(self._handle)

    def _listen(self, fact: str, wait_s: float) -> None:
        """Until it is known, for so long. It is the fork server that says it, and all ends with that."""
        give_up = time.monotonic() + wait_s
        while fact not in self._facts:
            if not self._ready.poll(max(0.0, give_up - time.monotonic()) * 1e3):
                return
            if not (got := os.read(self._hear, 4096)):
                if "pid" in self._facts:
                    self._facts["status"] = -signal.SIGKILL
                return
            *lines, self._rest = (self._rest + got).split(b"\n")
            for line in lines:
                self._facts |= json.loads(line)


def _environment() -> dict[str, str]:
    """Ours, without what would change a run: Locust reads options from LOCUST_*, ~/.locust.conf and its
    working folder. Packages that were installed for the user are still found where they are."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LOCUST_")}
    return inherited | {"PYTHONUSERBASE": site.getuserbase()}
