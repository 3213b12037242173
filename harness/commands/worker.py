"""`harness worker`: load processes for a run that is led from another machine, one after the other."""

from __future__ import annotations

import secrets
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness import terminal
from harness.address import Address, is_loopback, of_option
from harness.load.coordinator.fork_server import ForkServer
from harness.load.coordinator.load_processes import LOCUST_PORT
from harness.load.coordinator.locust_process import LocustProcess, PipedProcess
from harness.load.distributed import secret
from harness.load.load_plan import TOKEN_VARIABLE
from harness.schema.errors import HarnessError, InputError

LOOK_S = 1.0
LAST_WORDS_S = 10.0

_WORKER = "harness.load.distributed.worker"
_UNPROVEN = f"has not the same {secret.SECRET_VARIABLE}, or none: it is tried again"


def work(master: str, *, once: bool = False, say: Callable[[str], None] | None = None) -> None:
    """Send load for the run at `master` ("host" or "host:port"): a fresh process each point, until Ctrl-C.

    `once`: end with the first point. Nothing is written but into a temporary folder.

    With HARNESS_WORKER_SECRET in the environment it takes part in no run that doesn't know the same.

    Raises InputError for a name without an address, a secret that can be guessed, and where the run's machine
    has another version of harness or Python, HarnessError where a load process doesn't come so far as to take
    part.
    """
    known = secret.is_set()
    at = of_option("--master", master, LOCUST_PORT)
    try:
        socket.getaddrinfo(*at)
    except OSError as error:
        raise InputError(f"the name {at.host!r} can't be resolved here: give --master an address") from error
    say = say or _to_stderr
    try:
        say(f"waiting for a run at {at}; Ctrl-C ends it")
        if not known and not is_loopback(at.host):
            say(
                f"whoever answers at {at} can have this machine send load to any address: set "
                f"{secret.SECRET_VARIABLE} here and there to keep others out (docs/threats.md)"
            )
        with ForkServer() as server:
            while not (_one_point(server, at, say) and once):
                pass
    except KeyboardInterrupt:
        say("stopped")


def _one_point(server: ForkServer, at: Address, say: Callable[[str], None]) -> bool:
    """Whether there was one: a run may end while its next point is awaited."""
    token = secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix="harness-worker-") as folder:
        output = Path(folder) / "locust.out"
        master = f"tcp://{at}"
        own = {TOKEN_VARIABLE: token}
        process = PipedProcess(server, _WORKER, [master, "any"], own, output)
        taking_part = unproven = missed = False
        try:
            while not process.over:
                for message in process.messages(LOOK_S):
                    match message["event"]:
                        case "joined":
                            taking_part = True
                            number, last = message["worker"], message["of"] - 1
                            say(f"load process {number} (of 0 to {last}) for the run at {at}")
                        case "waiting":
                            say("the run has all its load processes; waiting for its next point")
                        case "missed":
                            missed = True
                        case "unproven" if not unproven:
                            unproven = True
                            say(f"the run at {at} {_UNPROVEN}")
                        case "refused":
                            raise InputError(f"the run at {at} can't use this machine: {message['why']}")
            if not process.succeeded:
                how = process.exit_description()
                if not taking_part:
                    raise HarnessError(f"the load process {how}")
                _tell(server, master, own, how, output)
                say(f"the load process {how}")
            elif missed:
                say(f"the run at {at} is gone: it said nothing more, and its point is not finished")
            elif taking_part:
                say("the point is over")
            return taking_part
        except KeyboardInterrupt:
            if taking_part:
                _tell(server, master, own, "was stopped by Ctrl-C on its machine", output)
            raise
        finally:
            process.end(grace_s=0)


def _tell(server: ForkServer, master: str, own: dict[str, str], how: str, output: Path) -> None:
    """Give the run the reason why it has lost a load process; in a process of its own, as it takes Locust."""
    LocustProcess(server, _WORKER, [master, "lost", how], own, output).end(grace_s=LAST_WORDS_S)


def _to_stderr(text: str) -> None:
    terminal.tell(f"{socket.gethostname()}: {text}")
