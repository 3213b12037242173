"""The load processes of one drive, by what they have said of themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.analysis.clocks import Clock, Reading
from harness.load.coordinator.load_processes import Message
from harness.load.distributed.secret import SECRET_VARIABLE
from harness.load.job import Job
from harness.load.spools import recorded, recorded_bytes, write_clock
from harness.schema.result import LoadProcess
from harness.schema.samples import Phase, Window


class EndedEarly(Exception):
    """The drive can't go on, in words."""


@dataclass(frozen=True, slots=True)
class PhaseProgress:
    """How far the phase is."""

    phase: str
    """"warmup" or "measure"."""
    elapsed_s: float
    succeeded: int
    failed: int


@dataclass(slots=True)
class Worker:
    """One load process, by its own account."""

    index: int
    host: str = ""
    pid: int | None = None
    is_ready: bool = False
    users: int = 0
    heard_at: float = field(default_factory=time.monotonic)
    recorded: tuple[int, int] = (0, 0)
    """Requests that succeeded and failed in this phase, so far."""
    moved_at: float = 0.0
    """When that last changed."""
    settled: Message | None = None
    """That all which was due before the mark is recorded."""
    over: Message | None = None
    clock: Clock | None = None
    lost: str | None = None

    def theirs(self, ours_ns: int) -> int:
        return ours_ns if self.clock is None else self.clock.theirs(ours_ns)

    def window(self) -> Window | None:
        """The measured phase, on our clock."""
        if self.over is None or self.over["phase"] != Phase.MEASURE.name or self.over["window"] is None:
            return None
        start_ns, end_ns = self.over["window"]
        return Window(
            *((start_ns, end_ns) if self.clock is None else map(self.clock.ours, (start_ns, end_ns)))
        )

    def missing(self, folder: Path, said: Message | None) -> int:
        """Bytes of what it has said to have recorded that are not in `folder` yet."""
        if said is None:
            return 0
        recorded = said["spool_bytes"] + said["text_bytes"]
        return max(0, int(recorded) - recorded_bytes(folder, self.index))

    def result(self, folder: Path) -> LoadProcess:
        measured = self.over if self.over is not None and self.over["phase"] == Phase.MEASURE.name else None
        return LoadProcess(
            worker=self.index,
            host=self.host,
            pid=self.pid,
            requests=measured["requests"] if measured else recorded(folder, self.index, Phase.MEASURE),
            resent=measured["resent"] if measured else 0,
            cpu_s=measured["cpu_s"] if measured else None,
            clock_offset_s=self.clock.offset_s if self.clock else None,
            clock_error_s=self.clock.error_s if self.clock else None,
            lost=self.lost,
        )


class Workers:
    """All of them, whether they are here already or not."""

    def __init__(
        self, job: Job, on_progress: Callable[[PhaseProgress], None], say: Callable[[str], None]
    ) -> None:
        self._job, self._on_progress, self._say = job, on_progress, say
        self._all = [Worker(worker) for worker in range(job.load.workers)]

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._all)

    # How far they are.

    def came(self) -> int:
        """How many have shown themselves."""
        return sum(worker.pid is not None for worker in self)

    def ready(self) -> bool:
        """Whether all are ready for users; those of other machines with a clock that is known."""
        elsewhere = self._job.listen is not None
        return all(worker.is_ready and (worker.clock is not None or not elsewhere) for worker in self)

    def gathered(self) -> bool:
        """Whether all users are there, in equal shares. Of an open loop each process has one."""
        users = [worker.users for worker in self]
        if self._job.load.open_loop:
            return set(users) == {1}
        return sum(users) == self._job.users and max(users) - min(users) <= 1

    def over(self) -> bool:
        return all(worker.over is not None for worker in self)

    def settled(self) -> bool:
        """Whether all that was due before the mark is recorded, and here."""
        folder = self._job.folder
        return all(w.settled is not None and not w.missing(folder, w.settled) for w in self)

    def missing(self) -> dict[int, int]:
        """Bytes that each has recorded and that are not in the job's folder, where there are any."""
        missing = {worker.index: worker.missing(self._job.folder, worker.over) for worker in self}
        return {worker: count for worker, count in missing.items() if count}

    def clocks_read_again(self) -> bool:
        return all(worker.clock is not None and len(worker.clock.readings) > 1 for worker in self)

    def silent(self, patience_s: float) -> tuple[int | None, str] | None:
        """Who has said nothing for too long, and how. Where all are silent, it is what they speak through."""
        quiet = [worker for worker in self if time.monotonic() > worker.heard_at + patience_s]
        if not quiet:
            return None
        through_master = len(self._all) > 1 and len(quiet) == len(self._all)
        return (
            None if through_master else quiet[0].index,
            f"said nothing for {patience_s:g} s and was ended",
        )

    def stuck(self, patience_s: float) -> tuple[int, str] | None:
        """Who has not ended its phase, or not even begun it, and records nothing, though it lives."""
        for worker in self:
            if worker.over is None and time.monotonic() > worker.moved_at + patience_s:
                return (
                    worker.index,
                    "did not end its phase" if worker.moved_at else "did not start its users",
                )
        return None

    def wait_longer(self, seconds: float) -> None:
        """Nobody listened to them for so long."""
        for worker in self:
            worker.heard_at += seconds
            worker.moved_at += seconds if worker.moved_at else 0.0

    # What is heard of them.

    def hear(self, message: Message) -> None:
        if message["event"] == "refused":
            self._say(f"the load process on {message['host']} can't take part: {message['why']}")
            return
        if message["event"] == "dropped":
            for sentence in _dropped(**message):
                self._say(sentence)
            return
        worker = self._all[message["worker"]]
        worker.heard_at = time.monotonic()
        match message["event"]:
            case "came":
                worker.host, worker.pid = message["host"], message["pid"]
            case "here":
                worker.host, worker.pid, worker.is_ready = message["host"], message["pid"], True
            case "ready":
                worker.users = message["users"]
            case "clock":
                readings = worker.clock.readings if worker.clock else ()
                reading = Reading(*message["reading"])
                if readings and _ran_away(readings[-1], reading):
                    raise self.lost(worker.index, "has a clock that can't be followed")
                worker.clock = Clock((*readings, reading))
                write_clock(self._job.folder, worker.index, worker.clock)
            case "progress" if message["phase"] is not None:
                if worker.recorded != (counts := (message["succeeded"], message["failed"])):
                    worker.recorded, worker.moved_at = counts, time.monotonic()
                succeeded, failed = map(sum, zip(*(m.recorded for m in self), strict=True))
                self._on_progress(
                    PhaseProgress(message["phase"].lower(), message["elapsed_s"], succeeded, failed)
                )
            case "settled":
                worker.settled = message
            case "over":
                worker.over = message
            case "failed":
                raise self.lost(worker.index, f"failed: {message['reason']}")
            case "lost":
                raise self.lost(worker.index, message["how"])

    def lost(self, index: int | None, how: str) -> EndedEarly:
        """Note that one can't go on (None: Locust's master), for this reason; the reason with its name."""
        if index is None:
            return EndedEarly(f"Locust's master {how}")
        worker = self._all[index]
        worker.lost = how
        if self._job.alone:
            return EndedEarly(f"the load process {how}")
        return EndedEarly(f"load process {index}{worker.host and f' on {worker.host}'} {how}")


def _ran_away(before: Reading, now: Reading) -> bool:
    """Whether a clock's offset has changed by more than any clock's does: drifts are millionths."""
    known = before.error_ns + now.error_ns
    return abs(now.offset_ns - before.offset_ns) > known + abs(now.at_ns - before.at_ns) / 100


def _dropped(messages: int, unproven: int, **_: object) -> Iterator[str]:
    """In words, what came to Locust's channel and was let go."""
    if messages:
        yield f"{messages} messages to the load processes' port were dropped so far: they were none of theirs"
    if unproven:
        yield (
            f"{unproven} connections to the load processes' port were refused so far: whoever it was has not "
            f"the same {SECRET_VARIABLE}"
        )
