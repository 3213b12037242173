"""The load processes of one drive, as the driver sees them: however many, and wherever they are."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import Any, Protocol

from harness.address import Address, numeric
from harness.load.coordinator.fork_server import ForkServer
from harness.load.coordinator.locust_process import LocustProcess, PipedProcess
from harness.load.distributed import secret
from harness.load.job import Job
from harness.load.load_plan import PLAN_VARIABLE, TOKEN_VARIABLE
from harness.schema.errors import InputError

Message = dict[str, Any]
"""`event` says what, `worker` who: see `Conductor`."""
Order = dict[str, Any]

LOCUST_PORT = 5557
"""Locust's own, for its master."""

_LOCUSTFILE = Path(__file__).parents[1] / "process" / "locustfile.py"
_MASTER, _WORKER = "harness.load.distributed.master", "harness.load.distributed.worker"
_SOCKET = "master"
_LONGEST_ADDRESS = 107
"""Bytes of a Unix socket's address, unix(7)."""


class LoadProcesses(Protocol):
    @property
    def pids(self) -> tuple[int, ...]:
        """Processes of the load that run on this machine."""

    def spawn(self, users: int) -> None:
        """Start that many Locust users, once all load processes are here."""

    def messages(self, wait_s: float) -> list[Message]:
        """What the load processes say within `wait_s`."""

    def tell(self, order: Order, worker: int | None = None) -> None:
        """To one load process, or to all."""

    def lost(self) -> tuple[int | None, str] | None:
        """A load process that is gone (None: the one that leads them) and how; None while all live."""

    def end(self) -> None:
        """End them all, wait for their end."""


class SingleProcess:
    """One load process: plain Locust on harness's locustfile, led over two pipes."""

    def __init__(self, server: ForkServer, job: Job, plan: Path) -> None:
        options = ["-f", str(_LOCUSTFILE), "--headless", "--host", str(job.endpoint.address)]
        options += ["--users", str(job.users), "--spawn-rate", str(job.users), "--only-summary"]
        options += ["--exit-code-on-error", "0", "--loglevel", "WARNING"]
        self._process = PipedProcess(
            server, "locust", options, {PLAN_VARIABLE: str(plan.absolute())}, job.folder / "locust.out"
        )

    @property
    def pids(self) -> tuple[int, ...]:
        return (self._process.pid,)

    def spawn(self, users: int) -> None:
        """Locust has started them by itself."""

    def messages(self, wait_s: float) -> list[Message]:
        return [message | {"worker": 0} for message in self._process.messages(wait_s)]

    def tell(self, order: Order, worker: int | None = None) -> None:  # noqa: ARG002 - there is only one
        self._process.tell(order)

    def lost(self) -> tuple[int | None, str] | None:
        return (0, self._process.exit_description()) if self._process.over else None

    def end(self) -> None:
        self._process.end()


class MasterAndWorkers:
    """Several load processes, workers of one Locust master: started here, or awaited from other machines.

    The master listens on a Unix socket in a folder that other users of this machine can't enter, and, where
    load processes of other machines are awaited, has a front door for those.
    """

    def __init__(self, server: ForkServer, job: Job, plan: Path) -> None:
        of, environment = job.load.workers, {PLAN_VARIABLE: str(plan.absolute())}
        where = () if job.listen is None else checked_address(*job.listen)
        self._workers: list[LocustProcess] = []
        self._private = _private_folder()
        inside = f"{self._private.name}/{_SOCKET}"
        try:
            arguments = [inside, str(of), *map(str, where)]
            self._master = PipedProcess(server, _MASTER, arguments, environment, job.folder / "locust.out")
            for worker in range(of if job.listen is None else 0):
                arguments = [f"ipc://{inside}", str(worker)]
                own = environment | {TOKEN_VARIABLE: secrets.token_hex(8)}
                self._workers.append(
                    LocustProcess(server, _WORKER, arguments, own, job.folder / f"locust-{worker}.out")
                )
        except BaseException:
            self.end()
            raise

    @property
    def pids(self) -> tuple[int, ...]:
        return (self._master.pid, *(process.pid for process in self._workers))

    def spawn(self, users: int) -> None:
        self._master.tell({"do": "spawn", "users": users})

    def messages(self, wait_s: float) -> list[Message]:
        return self._master.messages(wait_s)

    def tell(self, order: Order, worker: int | None = None) -> None:
        self._master.tell(order | {"worker": worker})

    def lost(self) -> tuple[int | None, str] | None:
        for worker, process in enumerate(self._workers):
            if process.gone:
                return worker, process.exit_description()
        return (None, self._master.exit_description()) if self._master.over else None

    def end(self) -> None:
        if hasattr(self, "_master"):
            self._master.end()
        for process in self._workers:
            process.end(grace_s=0)
        self._private.cleanup()


def _private_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder of mode 0700 for the socket, where the user's $TMPDIR isn't too long for its address."""
    folder = tempfile.TemporaryDirectory(prefix="harness-load-")
    if len(os.fsencode(f"{folder.name}/{_SOCKET}")) <= _LONGEST_ADDRESS:
        return folder
    folder.cleanup()
    return tempfile.TemporaryDirectory(prefix="harness-load-", dir="/tmp")


def checked_address(host: str, port: int) -> Address:
    """`host` and `port` where a master can listen; any free port for 0.

    Raises InputError where it can't, and for a secret of the load processes that can be guessed.
    """
    secret.is_set()
    try:
        family, address = numeric(host, port)
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return Address(address.host, int(probe.getsockname()[1]))
    except OSError as error:
        remedy = "give --listen an address of this machine, and a port that is free"
        if error.errno == errno.EACCES:
            remedy = "give --listen a port above 1023"
        text = error.strerror or str(error)
        raise InputError(
            f"load processes can't be awaited at {Address(host, port)} ({text}): {remedy}"
        ) from error
