"""The GPUs and the server's processes of another machine, through `harness probe --serve` there.

Its clock is read against ours at begin and end, and the readings are put on ours. What it has read is
fetched once a second and kept in a file here: a probe that goes away takes no more than that with it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from harness.analysis.clocks import Clock, Reading, Round
from harness.probe.gpu_processes import judged
from harness.probe.local import cut_off, probe_of, wait_for_rest
from harness.probe.reader import INTERVAL_S
from harness.probe.spool import Hello, Spool, boot_id
from harness.probe.two_machines import foreign_there
from harness.probe.watch import Seen
from harness.schema.errors import ServerError
from harness.schema.samples import GpuReading, HostReading

PORT = 9400
ANSWER_S = 3.0
"""A probe that has hung holds up the end of a point by no more than two of these."""
END_S = 5.0
"""A reader there that hangs is waited for (`reader_process.END_S` and `KILLED_S`)."""
START_S = 40.0
"""The first readings wait for the driver there (`reader_process.START_S`)."""
STOP_S = 15.0
"""For all that is left, on a slow network."""
FETCH_INTERVAL_S = 1.0
ROUNDS = 16
CLOCK_ERROR_S = 0.005
"""Over which it is told: a tenth of a point's shortest events."""

ANSWER_BYTES = 8 << 20
"""More than a probe sends at once."""

R = TypeVar("R", GpuReading, HostReading)


@dataclass(frozen=True, slots=True)
class Address:
    """Of a probe. Every call raises OSError or HTTPException where it doesn't answer, or answers nonsense."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def ask(self, method: str, path: str, body: bytes | None = None, limit_s: float = ANSWER_S) -> bytes:
        connection = HTTPConnection(self.host, self.port, timeout=limit_s)
        try:
            return _answered(connection, method, path, body)
        finally:
            connection.close()

    def clock(self) -> Reading:
        """Their clock against ours, over one connection."""
        connection = HTTPConnection(self.host, self.port, timeout=ANSWER_S)
        rounds: list[Round] = []
        try:
            connection.connect()
            for _ in range(ROUNDS):
                sent = time.monotonic_ns()
                answer = _answered(connection, "GET", "/v1/clock")
                came = time.monotonic_ns()
                rounds.append((sent, _whole(answer, "at_ns"), came))
        finally:
            connection.close()
        return Reading.of(rounds)

    def machine(self) -> Hello:
        """The machine there and its GPUs. Raises ServerError where no probe answers."""
        try:
            spool = Spool()
            spool.take([self.ask("GET", "/v1/machine", limit_s=START_S)])
            if spool.hello is not None:
                return spool.hello
            why = "it gives no answer that this version of harness understands"
        except (OSError, HTTPException) as error:
            why = _words(error)
        raise ServerError(
            f"no probe answers at {self} ({why}): run `harness probe --serve ADDRESS:{self.port}` on the "
            "server's machine, with an address of it that this machine reaches"
        )


class RemoteWatch:
    """A `Watch` through the probe at an address; what it reads goes to the file `spool`."""

    def __init__(self, address: Address, spool: Path, interval_s: float = INTERVAL_S) -> None:
        self._address, self._path, self._interval_s = address, spool, interval_s
        self._watch: str | None = None
        self._clocks: list[Reading] = []
        self._fetched = 0
        self._first = Spool()
        self._missing: str | None = None
        """Why the last question had no answer; None where it had."""
        self._ended: str | None = None
        """Why the reader there did not come to its end."""
        self._stopped_ns = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="remote probe", daemon=True)

    def start(self) -> None:
        try:
            self._path.write_bytes(b"")
            self._clocks.append(self._address.clock())
            asked = json.dumps({"interval_s": self._interval_s}).encode()
            begun = self._address.ask("POST", "/v1/watches", asked, START_S)
            self._watch = f"/v1/watches/{_member(begun, 'id')}"
            self._fetch()
        except (OSError, HTTPException) as error:
            self._missing = _words(error)
            return
        self._first = Spool.read(self._path)
        self._thread.start()

    def rest(self) -> bool:
        if not self._first.devices():
            return False
        wait_for_rest(self._path)
        return True

    def stop(self) -> None:
        self._stop.set()
        self._stopped_ns = time.monotonic_ns()
        if self._watch is None:
            return
        if self._thread.is_alive():
            self._thread.join()
        give_up = time.monotonic() + STOP_S
        try:
            self._clocks.append(self._address.clock())
            ended = self._address.ask("DELETE", self._watch, limit_s=END_S)
            size, problem = _whole(ended, "size"), _member(ended, "problem")
            self._ended = None if problem is None else str(problem)
            while self._fetched < size and time.monotonic() < give_up:
                self._fetch()
            self._missing = None if self._fetched >= size else "its network is too slow"
        except (OSError, HTTPException) as error:
            self._missing = _words(error)

    def seen(self, server: Set[int], others: Set[int]) -> Seen:  # noqa: ARG002 - its processes are others
        spool = Spool.read(self._path)
        if spool.hello is None:
            reason = self._missing or self._ended or "none came"
            why = f"the probe at {self._address} gave no readings: {reason}"
            return Seen(no_gpu=why, problems=(why,))
        clock = Clock(tuple(self._clocks))
        gpu, host = _on_our_clock(spool.gpu, clock), _on_our_clock(spool.host, clock)
        same = spool.hello.boot_id is not None and spool.hello.boot_id == boot_id()
        probe = probe_of(spool, "remote probe", self._interval_s)
        return Seen(
            gpus=spool.devices(),
            no_gpu=spool.hello.unavailable,
            gpu=judged(gpu, spool.kin, spool.server, spool.others),
            probe=probe and probe.model_copy(update={"cpu_cores": None}),
            problems=(*spool.problems, *self._problems(clock, gpu, host, None if same else spool.hello)),
            host=host,
            same_host=same,
        )

    def _problems(
        self,
        clock: Clock,
        gpu: Sequence[GpuReading],
        host: Sequence[HostReading],
        elsewhere: Hello | None,
    ) -> Iterator[str]:
        last_ns = max((readings[-1].at_ns for readings in (gpu, host) if readings), default=None)
        if self._missing is not None:
            stopped = f"the probe at {self._address} stopped answering ({self._missing})"
            yield cut_off(stopped, last_ns, self._stopped_ns)
        elif self._ended is not None:
            yield cut_off(f"at {self._address}, {self._ended}", last_ns, self._stopped_ns)
        if clock.error_s > CLOCK_ERROR_S:
            yield f"the clock of the machine at {self._address} is known to {clock.error_s * 1e3:.1f} ms only"
        if elsewhere is not None and (foreign := foreign_there(host, elsewhere.cores)) is not None:
            yield foreign

    def _follow(self) -> None:
        while not self._stop.wait(FETCH_INTERVAL_S):
            try:
                self._fetch()
            except (OSError, HTTPException) as error:
                self._missing = _words(error)  # the next time all is fetched that came meanwhile
            else:
                self._missing = None

    def _fetch(self) -> None:
        lines = self._address.ask("GET", f"{self._watch}?from={self._fetched}")
        with self._path.open("ab") as spool:
            spool.write(lines)
        self._fetched += len(lines)


def _on_our_clock(readings: Sequence[R], clock: Clock) -> list[R]:
    times = clock.ours(np.array([reading.at_ns for reading in readings], np.int64))
    return [replace(r, at_ns=int(at_ns)) for r, at_ns in zip(readings, times, strict=True)]


def _answered(connection: HTTPConnection, method: str, path: str, body: bytes | None = None) -> bytes:
    headers = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    answer = response.read(ANSWER_BYTES)
    if response.read(1):
        raise HTTPException("its answer has no end")
    if response.status != HTTPStatus.OK:
        raise HTTPException(str(_member(answer, "error"))[:200])
    return answer


def _member(answer: bytes, name: str) -> Any:
    try:
        return json.loads(answer)[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise HTTPException("it answers as no probe does") from None


def _whole(answer: bytes, name: str) -> int:
    number = _member(answer, name)
    if not isinstance(number, int) or not 0 <= number < 1 << 63:
        raise HTTPException("it answers as no probe does")
    return number


def _words(error: OSError | HTTPException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__
