"""Runs the load of one point: a Locust process of its own, led through warm-up and measurement.

Locust patches the process that imports it, so it is never imported here. The two talk over inherited pipes
in lines of JSON; requests go to a spool file, which outlives the process whatever becomes of it.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import site
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.load import arrivals
from harness.load.plan import CHANNEL_VARIABLE, PLAN_VARIABLE, LoadPlan, PayloadFile, PlannedClass, write_plan
from harness.schema.errors import HarnessError
from harness.schema.point import Point
from harness.schema.samples import Window
from harness.schema.tensors import Tensors

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_LOOK_S = 0.25
_START_S = 60.0
_SILENT_S = 15.0
"""The load process reports twice a second; after this long without a word it is taken for hung."""
_FLUSH_S = 4.0
_EXIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the phase is."""

    phase: str
    """"warmup" or "measure"."""
    elapsed_s: float
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """What is left of a drive. The requests are in `folder`: see `harness.load.recorder.read_spool`."""

    folder: Path
    window: Window | None
    """None where the measured phase did not come to its end, or had no request."""
    ended: str | None
    """Why the drive ended early; None for one that ran to its end."""
    pid: int | None
    client_cpu_s: float | None
    """CPU seconds of the load process in the measured phase."""
    client_max_rss_bytes: int | None


def drive(
    point: Point,
    model: str,
    payloads: Mapping[str, Sequence[Tensors]],
    outputs: Sequence[str],
    host: str,
    port: int,
    folder: Path,
    base_dir: Path,
    *,
    min_requests: int = 0,
    between: Callable[[], None] = lambda: None,
    alive: Callable[[], str | None] = lambda: None,
    on_started: Callable[[int], None] = lambda _: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> LoadOutcome:
    """Warm up, call `between` with nothing in flight, measure; return with nothing in flight.

    `payloads` has the variants of each of the point's classes, by name; `outputs` are asked for (none: all).
    `folder` gets the plan, the spool and Locust's log. `base_dir` is the scenario's folder. A closed loop
    goes on to `point.measure.at_most_s` while fewer than `min_requests` have succeeded. `alive` is asked four
    times a second; a reason from it ends the drive. `on_started` is given the load process's id.

    Raises InputError for a schedule that can't be made, and what `between` and the other callables raise; the
    load process is gone by then. Its own death or silence is no exception but an outcome with its reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("requests-*"):
        old.unlink()
    plan = _write(point, model, payloads, outputs, host, port, folder, base_dir, min_requests)
    users = point.load.concurrency or 1
    process = _LoadProcess(plan, users, f"{host}:{port}", folder)
    try:
        on_started(process.pid)
        return _led(process, folder, between, alive, on_progress)
    finally:
        process.end()


def _write(
    point: Point,
    model: str,
    payloads: Mapping[str, Sequence[Tensors]],
    outputs: Sequence[str],
    host: str,
    port: int,
    folder: Path,
    base_dir: Path,
    min_requests: int,
) -> Path:
    from harness.load.wire import prepare  # tritonclient takes half a second to import

    measure = point.measure
    times: dict[str, arrivals.Times] = {}
    if point.load.open_loop:
        times["measure"] = arrivals.schedule(point.load, measure.duration_s, point.seed, base_dir)
        warmup = arrivals.warmup_load(point.load, times["measure"])
        if measure.warmup_s > 0:
            times["warmup"] = arrivals.schedule(
                warmup, max(measure.warmup_s, 1 / (warmup.rate_per_s or 1)), point.seed + 1, base_dir
            )
    for old in folder.glob("load-times-*"):
        old.unlink()
    places = PayloadFile.write(
        [
            [
                prepare(point.protocol, model, tensors, outputs, f"{host}:{port}")
                for tensors in payloads[c.name]
            ]
            for c in point.requests
        ],
        folder,
    )
    plan = LoadPlan(
        protocol=point.protocol,
        host=host,
        port=port,
        classes=tuple(
            PlannedClass(name=c.name, weight=c.weight, requests=place)
            for c, place in zip(point.requests, places, strict=True)
        ),
        seed=point.seed,
        timeout_s=measure.timeout_s,
        concurrency=point.load.concurrency,
        warmup_s=measure.warmup_s,
        duration_s=measure.duration_s,
        at_most_s=measure.at_most_s or measure.duration_s,
        min_requests=min_requests,
    )
    return write_plan(plan, times, folder)


def _led(
    process: _LoadProcess,
    folder: Path,
    between: Callable[[], None],
    alive: Callable[[], str | None],
    on_progress: Callable[[Progress], None],
) -> LoadOutcome:
    outcome = LoadOutcome(folder, None, None, process.pid, None, None)
    last_word, patience_s = time.monotonic(), _START_S
    stopping: str | None = None
    while True:
        for message in process.messages(_LOOK_S):
            last_word, patience_s = time.monotonic(), _SILENT_S
            match message["event"]:
                case "progress" if stopping is None:
                    facts = (message[each] for each in ("phase", "elapsed_s", "succeeded", "failed"))
                    on_progress(Progress(*facts))
                case "idle" if stopping is None:
                    between()
                    process.tell("go")
                    last_word = time.monotonic()
                case "done":
                    window = message["window"]
                    return replace(
                        outcome,
                        window=None if window is None else Window(*window),
                        ended=stopping,
                        client_cpu_s=message["cpu_s"],
                        client_max_rss_bytes=message["max_rss_bytes"],
                    )
                case "failed":
                    return replace(outcome, ended=stopping or f"the load process failed: {message['reason']}")
        if process.over:
            return replace(outcome, ended=stopping or process.epitaph())
        now = time.monotonic()
        if stopping is not None:
            if now > last_word + _FLUSH_S:
                return replace(outcome, ended=stopping)
            continue
        stopping = alive()
        if stopping is not None:
            process.tell("stop")
            last_word = now
        elif now > last_word + patience_s:
            return replace(outcome, ended=f"the load process said nothing for {patience_s:g} s and was ended")


class _LoadProcess:
    """Locust in a session of its own, and the two pipes to it."""

    def __init__(self, plan: Path, users: int, host: str, folder: Path) -> None:
        to_child, self._tell = os.pipe()
        self._hear, from_child = os.pipe()
        self._output = folder / "locust.out"
        # Locust reads options from LOCUST_*, ~/.locust.conf and its working folder: a user's must not change
        # this run. Packages that were installed for the user are still found where they are.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LOCUST_")}
        environment |= {"PYTHONUSERBASE": site.getuserbase(), "HOME": str(folder.absolute())}
        environment[PLAN_VARIABLE] = str(plan.absolute())
        environment[CHANNEL_VARIABLE] = f"{to_child},{from_child}"
        command = [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless", "--host", host]
        command += ["--users", str(users), "--spawn-rate", str(users), "--only-summary"]
        command += ["--exit-code-on-error", "0", "--loglevel", "WARNING"]
        try:
            with self._output.open("wb") as output:
                self._process = subprocess.Popen(
                    command,
                    env=environment,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(to_child, from_child),
                    start_new_session=True,
                )
        except OSError as error:
            os.close(self._tell)
            os.close(self._hear)
            raise HarnessError(
                f"the load process could not be started ({error.strerror}): run `harness doctor`"
            ) from error
        finally:
            os.close(to_child)
            os.close(from_child)
        self._rest = b""
        self.over = False
        """Its end of the pipe is closed: it is gone, or about to go."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._hear, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        return self._process.pid

    def messages(self, wait_s: float) -> list[dict[str, Any]]:
        """What it says within `wait_s`."""
        if not self._selector.select(wait_s):
            return []
        got = os.read(self._hear, 65536)
        self.over = not got
        *lines, self._rest = (self._rest + got).split(b"\n")
        return [json.loads(line) for line in lines]

    def tell(self, word: str) -> None:
        try:
            os.write(self._tell, f"{word}\n".encode())
        except BrokenPipeError:
            self.over = True

    def epitaph(self) -> str:
        """Why it ended, in its own last words where it had any."""
        try:
            code = self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            return "the load process closed its pipe and hung"
        if code < 0:
            return f"the load process was killed by {signal.Signals(-code).name}"
        lines = self._output.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        return f"the load process ended with code {code}: {lines[-1][:300]}"

    def end(self) -> None:
        """Give it a moment where it is ending by itself, then kill it and what it started."""
        os.close(self._tell)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        os.close(self._hear)
