"""Runs the load of one point: its load processes, led through warm-up and measurement in step.

A load process says `here`, `ready` with the users that have arrived, `progress` twice a second, `over` at
the end of a phase, or `failed`. The driver tells it to `begin` a phase at a time, that there is `enough` at a
time, to `stop` at once, and to `end`; it asks it to `mark` a time, which is `settled` when all that was due
before it is recorded. Requests go to spool files, which outlive the processes whatever becomes of them. Where
load processes are on other machines, Locust's master says that one `came`, is `receiving` the plan, was
`refused` or is `lost`, and what its `clock` shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.address import Address, is_loopback, reachable
from harness.load.coordinator.fork_server import ForkServer
from harness.load.coordinator.load_processes import LoadProcesses, MasterAndWorkers, SingleProcess
from harness.load.coordinator.stopping_rule import Enough, StoppingRule
from harness.load.coordinator.workers import EndedEarly, PhaseProgress, Workers
from harness.load.distributed.secret import SECRET_VARIABLE
from harness.load.distributed.secret import is_set as secret_is_set
from harness.load.job import Job, prepared, write_job
from harness.load.load_plan import LoadPlan
from harness.schema.errors import HarnessError
from harness.schema.result import LoadProcess, StoppedBy
from harness.schema.samples import Phase, Window

_LOOK_S = 0.25
_START_S = 60.0
_HELD_UP_S = 2.0
"""After so long between two looks this process itself didn't run (Ctrl-Z, a machine that sleeps), and what it
didn't hear meanwhile is nobody's silence."""
_SILENT_S = 15.0
"""A load process reports twice a second; after this long without a word it is taken for hung."""
_STOP_S = 4.0
_LEAD_S = 0.05
"""An open loop's first arrivals are this far ahead, so that none is late because the phase had to begin."""
_LEAD_TOGETHER_S = 0.2
"""The same for several load processes, which are told over Locust's channel."""
_LEAD_ELSEWHERE_S = 0.5
"""And where a packet may be lost on the way, and sent again."""


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """What is left of a drive. The requests lie in `folder`, as the load processes recorded them."""

    folder: Path
    window: Window | None
    """None where the measured phase did not come to its end, or had no request."""
    ended: str | None
    """Why the drive ended early; None for one that ran to its end."""
    began_ns: int | None = None
    """When the load processes were told to begin the measured phase; None where they weren't."""
    stopped_by: StoppedBy | None = None
    """What ended the measured phase; None where the drive ended early."""
    enough_ns: int | None = None
    """What was due before this was found enough, and ended it; None where no look has found that."""
    processes: tuple[LoadProcess, ...] = ()
    pids: tuple[int, ...] = ()
    """Processes of the load on this machine, Locust's master among them."""

    @property
    def client_cpu_s(self) -> float | None:
        """CPU seconds of the load processes in the measured phase; None where one didn't say."""
        used = [process.cpu_s for process in self.processes]
        return None if not used or None in used else sum(s for s in used if s is not None)


def drive(
    job: Job,
    *,
    fork_server: ForkServer | None = None,
    enough: Enough | None = None,
    between: Callable[[], None] = lambda: None,
    alive: Callable[[], str | None] = lambda: None,
    on_started: Callable[[tuple[int, ...]], None] = lambda _: None,
    on_progress: Callable[[PhaseProgress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> LoadOutcome:
    """Warm up, call `between` with nothing in flight, measure; return with nothing in flight.

    With `enough` and `measure.at_most_s`, a steady load goes on past `duration_s` until a look finds enough,
    up to `at_most_s`. `alive` is asked at least four times a second; a reason from it ends the drive.
    `fork_server` starts the load processes; left out: one for this drive alone, which takes its time.
    `on_started` is given the ids of the load's processes on this machine; `say` gets a sentence for the user
    where load processes of other machines are awaited.

    Raises InputError for a schedule that can't be made or memory that can't be shared, HarnessError where too
    few load processes come from other machines, and what the callables raise; the load processes are gone by
    then. The death or silence of one of them is no exception but an outcome with its reason.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    with nullcontext(fork_server) if fork_server else ForkServer() as server, prepared(job) as made:
        plan, path = write_job(job, *made, extensible=enough is not None)
        processes: LoadProcesses = (SingleProcess if job.alone else MasterAndWorkers)(server, job, path)
        try:
            on_started(processes.pids)
            lead = _Lead(job, plan, processes, alive, on_progress, say)
            return lead.run(enough, between)
        finally:
            processes.end()


class _Lead:
    """Leads the load processes from its start to the end of the measured phase."""

    def __init__(
        self,
        job: Job,
        plan: LoadPlan,
        processes: LoadProcesses,
        alive: Callable[[], str | None],
        on_progress: Callable[[PhaseProgress], None],
        say: Callable[[str], None],
    ) -> None:
        self._job, self._plan, self._processes = job, plan, processes
        self._alive, self._say = alive, say
        self._workers = Workers(job, on_progress, say)
        self._patience_s = _START_S
        self._due = float("inf")
        self._stopped_by: StoppedBy | None = None
        self._enough_ns: int | None = None
        self._began_ns: int | None = None

    def run(self, enough: Enough | None, between: Callable[[], None]) -> LoadOutcome:
        ended: str | None = None
        try:
            if self._job.listen is not None:
                self._await_others()
            self._listen_until(self._workers.ready)
            self._processes.spawn(self._job.users)
            self._due = time.monotonic() + _START_S
            self._listen_until(self._workers.gathered)
            self._patience_s = _SILENT_S
            if self._plan.warmup_s > 0:
                self._begin(Phase.WARMUP, self._plan.warmup_s)
                self._listen_until(self._workers.over)
            between()
            self._measure(enough)
            if self._job.listen is not None:
                self._bring_home()
        except EndedEarly as early:
            ended = str(early)
            self._stop()
        else:
            self._processes.tell({"do": "end"})
        windows = [window for worker in self._workers if (window := worker.window())]
        return LoadOutcome(
            folder=self._job.folder,
            window=Window(min(w.start_ns for w in windows), max(w.end_ns for w in windows))
            if windows
            else None,
            ended=ended,
            began_ns=self._began_ns,
            stopped_by=self._stopped_by if ended is None else None,
            enough_ns=self._enough_ns if ended is None else None,
            processes=tuple(worker.result(self._job.folder) for worker in self._workers),
            pids=self._processes.pids,
        )

    def _measure(self, enough: Enough | None) -> None:
        duration_s, precision = self._job.point.measure.duration_s, self._job.point.measure.precision
        extensible = self._plan.limit_s > duration_s
        self._began_ns = began_ns = self._begin(Phase.MEASURE, self._plan.limit_s)
        rule = None
        if enough is not None and extensible:
            rule = StoppingRule(
                enough, self._job.folder, duration_s, mark=self._mark, settled=self._workers.settled
            )
        self._stopped_by = "time" if extensible or precision is not None else "duration"

        def look() -> bool:
            now_ns = time.monotonic_ns()
            before_ns = rule.enough((now_ns - began_ns) / 1e9) if rule is not None else None
            if rule is not None and before_ns is not None and not self._workers.over():
                self._tell("enough", at_ns=now_ns + self._lead_ns())
                self._stopped_by = "duration" if rule.taken == 1 and precision is None else "precision"
                self._enough_ns = before_ns
            return self._workers.over()

        try:
            self._listen_until(look)
        finally:
            if rule is not None:
                rule.close()

    def _mark(self) -> int:
        """A time, on our clock; each load process says `settled` when what was due before it is recorded."""
        for worker in self._workers:
            worker.settled = None
        at_ns = time.monotonic_ns() + self._lead_ns()
        self._tell("mark", at_ns)
        return at_ns

    def _begin(self, phase: Phase, seconds: float) -> int:
        """Start a phase everywhere at the same time; that time, on our clock."""
        for worker in self._workers:
            worker.over, worker.recorded = None, (0, 0)
            worker.heard_at = worker.moved_at = time.monotonic()
        # An answer may take `timeout_s`, and a request as long to get a connection.
        self._due = time.monotonic() + seconds + 2 * self._plan.endpoint.timeout_s
        at_ns = time.monotonic_ns() + self._lead_ns()
        self._tell("begin", at_ns, phase=phase.name, seconds=seconds)
        return at_ns

    def _lead_ns(self) -> int:
        if self._job.listen is not None:
            slowest_s = max(worker.clock.error_s for worker in self._workers if worker.clock)
            return int((_LEAD_ELSEWHERE_S + 4 * slowest_s) * 1e9)
        if not self._job.alone:
            return int(_LEAD_TOGETHER_S * 1e9)
        return int(_LEAD_S * 1e9) if self._job.load.open_loop else 0

    def _tell(self, what: str, at_ns: int, **facts: Any) -> None:
        for worker in self._workers:
            self._processes.tell({"do": what, "at_ns": worker.theirs(at_ns)} | facts, worker.index)

    # Load processes on other machines.

    def _await_others(self) -> None:
        """Raises HarnessError where not all have come in time."""
        assert self._job.listen is not None
        of, (host, port) = self._job.load.workers, self._job.listen
        at = Address(reachable(host), port)
        processes = "a load process" if of == 1 else f"{of} load processes"
        command = f"harness worker --master {at}"
        with_secret = f" (with the same {SECRET_VARIABLE})" if secret_is_set() else ""
        remedy = f"run `{command}`{with_secret} on the machines that shall send the load"
        self._say(f"waiting for {processes}: {remedy}")
        if not with_secret and not is_loopback(at.host):
            self._say(
                f"whoever reaches {at} can take part in this run and see its requests: to keep "
                f"others out, set {SECRET_VARIABLE} there and here to what `openssl rand -hex 16` prints "
                "(docs/threats.md)"
            )
        give_up = time.monotonic() + _START_S

        def all_came() -> bool:
            came = self._workers.came()
            if came < of and time.monotonic() > give_up:
                raise HarnessError(
                    f"{came} of {processes} came to {at} within {_START_S:g} s: {remedy}, then run this again"
                )
            return came == of

        self._patience_s = 2 * _START_S
        self._listen_until(all_came)
        self._patience_s = _START_S

    def _bring_home(self) -> None:
        """The last records, and what the clocks show at the end."""
        self._processes.tell({"do": "clocks"})
        missing, moved_at = self._workers.missing(), time.monotonic()

        def complete() -> bool:
            nonlocal missing, moved_at
            if (still := self._workers.missing()) != missing:
                missing, moved_at = still, time.monotonic()
            for index, count in missing.items():
                if time.monotonic() > moved_at + _SILENT_S:
                    raise self._workers.lost(index, f"did not deliver {count:,} bytes of its records")
            return not missing and self._workers.clocks_read_again()

        self._listen_until(complete)

    def _listen_until(self, done: Callable[[], bool]) -> None:
        """Raises EndedEarly when the server or a load process is gone, or one has been silent too long."""
        looked_at = time.monotonic()
        while not done():
            for message in self._processes.messages(_LOOK_S):
                self._workers.hear(message)
            if (reason := self._alive()) is not None:
                raise EndedEarly(reason)
            if (lost := self._processes.lost()) is not None and not done():
                raise self._workers.lost(*lost)
            held_up_s, looked_at = time.monotonic() - looked_at - _LOOK_S, time.monotonic()
            if held_up_s > _HELD_UP_S:
                self._workers.wait_longer(held_up_s)
                self._due += held_up_s
            elif silent := self._workers.silent(self._patience_s):
                raise self._workers.lost(*silent)
            if time.monotonic() > self._due and (stuck := self._workers.stuck(_SILENT_S)):
                raise self._workers.lost(*stuck)

    def _stop(self) -> None:
        """Send no more, and wait a moment for the answers that are in flight and for what is recorded."""
        for worker in self._workers:
            worker.over = None
        self._processes.tell({"do": "stop"})
        give_up = time.monotonic() + _STOP_S
        missing: dict[int, int] = {}
        while time.monotonic() < give_up:
            for message in self._processes.messages(_LOOK_S):
                with suppress(EndedEarly):
                    self._workers.hear(message)
            if (lost := self._processes.lost()) is not None:
                self._workers.lost(*lost)
                if lost[0] is None:  # the one through which all others speak
                    return
            if (still := self._workers.missing()) != missing:
                missing, give_up = still, time.monotonic() + _STOP_S
            if all(m.lost or (m.over and m.index not in missing) for m in self._workers):
                return
