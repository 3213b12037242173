"""The GPUs and the server's processes of another machine, through `harness probe --serve` there.

Its clock is read against ours at begin and end, and the readings are put on ours. What it has read is
fetched once a second and kept in a file here: a probe that goes away takes no more than that with it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from harness.address import Address
from harness.analysis.clocks import Clock, Reading, Round
from harness.clock import boot_id
from harness.http_json import Client, parsed, words
from harness.plain_text import quoted
from harness.probe.reader.reader import INTERVAL_S
from harness.probe.reader.spool import PROTOCOL, Hello, Spool
from harness.probe.watch.foreign_processes import judged
from harness.probe.watch.local_watch import cut_off, probe_of, wait_for_rest
from harness.probe.watch.two_machines import foreign_there
from harness.probe.watch.watch import Seen
from harness.schema.errors import InputError, ServerError
from harness.schema.samples import GpuReading, HostReading
from harness.version import version

PORT = 9400
ANSWER_S = 3.0
"""A probe that has hung holds up the end of a point by no more than two of these."""
END_S = 5.0
"""A reader there that hangs is waited for (`reader_process.END_S` and `KILLED_S`)."""
START_S = 40.0
"""The first readings wait for the driver there (`reader_process.START_S`)."""
STOP_S = 15.0
"""How long fetching all that is left may take on a slow network."""
FETCH_INTERVAL_S = 1.0
ROUNDS = 16
CLOCK_ERROR_S = 0.005
"""An error of the clock above this is reported: it is a tenth of a point's shortest events."""

ANSWER_BYTES = 8 << 20
"""The most bytes of an answer, which is more than a probe sends at once."""
SPOOL_BYTES = 8 << 20
SPOOL_BYTES_PER_S = 512 << 10
"""What is kept: SPOOL_BYTES, and this for each second, which is twice what eight GPUs in MIG mode make."""
MOST_SPOOL_BYTES = 512 << 20
"""The most bytes that are kept and read when the point ends; eight GPUs make them in three hours."""
NO_PROBE = "it answers as no probe does"
TOO_MUCH = "it sends more than a probe reads"

_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")

R = TypeVar("R", GpuReading, HostReading)


class RemoteProbe(Address):
    """The probe at an address. Every call raises OSError or HTTPException where it doesn't answer, or answers
    nonsense."""

    __slots__ = ()

    def ask(self, method: str, path: str, body: bytes | None = None, limit_s: float = ANSWER_S) -> bytes:
        with Client(self.host, self.port) as client:
            return _answered(client, method, path, body, limit_s)

    def clock(self) -> Reading:
        """Their clock against ours, over one connection; of fewer rounds where they are slow."""
        rounds: list[Round] = []
        give_up = time.monotonic() + ANSWER_S
        with Client(self.host, self.port) as client:
            client.connect(ANSWER_S)
            while len(rounds) < ROUNDS and (not rounds or time.monotonic() < give_up):
                sent = time.monotonic_ns()
                answer = _answered(client, "GET", "/v1/clock")
                came = time.monotonic_ns()
                rounds.append((sent, _whole(answer, "at_ns"), came))
        return Reading.of(rounds)

    def machine(self) -> Hello:
        """The machine there and its GPUs. Raises ServerError where no probe answers."""
        try:
            spool = Spool(foreign=True)
            spool.take([self.ask("GET", "/v1/machine", limit_s=START_S)])
            if spool.hello is not None:
                self._check_same(spool.hello)
                return spool.hello
            why = "it gives no answer that this version of harness understands"
        except (OSError, HTTPException) as error:
            why = words(error)
        raise ServerError(
            f"no probe answers at {self} ({why}): run `harness probe --serve ADDRESS:{self.port}` on the "
            "server's machine, with an address of it that this machine reaches"
        )

    def _check_same(self, hello: Hello) -> None:
        """Raise InputError where another harness reads there: what it means by its lines isn't known here."""
        there, here = (hello.protocol or 1, hello.harness or "0.1"), (PROTOCOL, version())
        if there != here:
            raise InputError(
                f"the probe at {self} is of harness {quoted(there[1], 100)} (protocol {there[0]}), and this "
                f"is harness {here[1]} (protocol {here[0]}): install the same at both"
            )


class RemoteWatch:
    """A `Watch` through the probe at an address; what it reads goes to the file `spool`."""

    def __init__(self, probe: RemoteProbe, spool: Path, interval_s: float = INTERVAL_S) -> None:
        self._probe, self._path, self._interval_s = probe, spool, interval_s
        self._watch: str | None = None
        self._clocks: list[Reading] = []
        self._fetched = 0
        self._began = 0.0
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
            self._clocks.append(self._probe.clock())
            asked = json.dumps({"interval_s": self._interval_s}).encode()
            key = _member(self._probe.ask("POST", "/v1/watches", asked, START_S), "id")
            if not isinstance(key, str) or not _KEY.fullmatch(key):
                raise HTTPException(NO_PROBE)
            self._watch, self._began = f"/v1/watches/{key}", time.monotonic()
            self._fetch()
        except (OSError, HTTPException) as error:
            self._missing = words(error)
            return
        self._first = Spool.read(self._path, foreign=True)
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
            self._clocks.append(self._probe.clock())
            ended = self._probe.ask("DELETE", self._watch, limit_s=END_S)
            size, problem = _whole(ended, "size"), _member(ended, "problem")
            self._ended = None if problem is None else quoted(str(problem))
            while self._fetched < size and time.monotonic() < give_up:
                if not self._fetch():
                    raise HTTPException(f"{size - self._fetched} bytes that it has don't come")
            self._missing = None if self._fetched >= size else "its network is too slow"
        except (OSError, HTTPException) as error:
            self._missing = words(error)

    def seen(self, server: Set[int], others: Set[int]) -> Seen:  # noqa: ARG002 - its processes are others
        spool = Spool.read(self._path, foreign=True)
        if spool.hello is None:
            reason = self._missing or self._ended or "none came"
            why = f"the probe at {self._probe} gave no readings: {reason}"
            return Seen(no_gpu=why, problems=(why,))
        clock = Clock(tuple(self._clocks))
        gpu, host = _on_our_clock(spool.gpu, clock), _on_our_clock(spool.host, clock)
        same = spool.hello.boot_id is not None and spool.hello.boot_id == boot_id()
        probe = probe_of(spool, "remote probe", self._interval_s)
        return Seen(
            gpus=spool.devices(),
            no_gpu=spool.hello.unavailable,
            gpu=judged(gpu, spool.process_info, spool.server, spool.others),
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
            stopped = f"the probe at {self._probe} stopped answering ({self._missing})"
            yield cut_off(stopped, last_ns, self._stopped_ns)
        elif self._ended is not None:
            yield cut_off(f"at {self._probe}, {self._ended}", last_ns, self._stopped_ns)
        if clock.error_s > CLOCK_ERROR_S:
            yield f"the clock of the machine at {self._probe} is known to {clock.error_s * 1e3:.1f} ms only"
        if elsewhere is not None and (foreign := foreign_there(host, elsewhere.cores)) is not None:
            yield foreign

    def _follow(self) -> None:
        while not self._stop.wait(FETCH_INTERVAL_S):
            try:
                self._fetch()
            except (OSError, HTTPException) as error:
                self._missing = words(error)  # the next time all is fetched that came meanwhile
            else:
                self._missing = None

    def _fetch(self) -> int:
        """Fetch what is new. Returns the number of bytes; raises HTTPException where all are too many."""
        lines = self._probe.ask("GET", f"{self._watch}?from={self._fetched}")
        most = SPOOL_BYTES + SPOOL_BYTES_PER_S * (time.monotonic() - self._began)
        if self._fetched + len(lines) > min(most, MOST_SPOOL_BYTES):
            raise HTTPException(TOO_MUCH)
        with self._path.open("ab") as spool:
            spool.write(lines)
        self._fetched += len(lines)
        return len(lines)


def _on_our_clock(readings: Sequence[R], clock: Clock) -> list[R]:
    with np.errstate(invalid="ignore"):  # times that no clock shows become other such times
        times = clock.ours(np.array([reading.at_ns for reading in readings], np.int64))
    return [replace(r, at_ns=int(at_ns)) for r, at_ns in zip(readings, times, strict=True)]


def _answered(
    client: Client, method: str, path: str, body: bytes | None = None, limit_s: float = ANSWER_S
) -> bytes:
    status, answer = client.ask(method, path, body, limit_s=limit_s, most_bytes=ANSWER_BYTES)
    if status != HTTPStatus.OK:
        raise HTTPException(quoted(str(_member(answer, "error")), 200))
    return answer


def _member(answer: bytes, name: str) -> Any:
    try:
        return parsed(answer)[name]
    except (ValueError, KeyError, TypeError):
        raise HTTPException(NO_PROBE) from None


def _whole(answer: bytes, name: str) -> int:
    number = _member(answer, name)
    if not isinstance(number, int) or not 0 <= number < 1 << 63:
        raise HTTPException(NO_PROBE)
    return number
