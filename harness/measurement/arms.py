"""One load, sent to an arm or to several in turns, each on a live server; what is left of it.

Source of the turns: paired comparison in small blocks of random order (Fisher, The Design of Experiments,
1935), which takes what moves the whole machine out of a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.clock import now
from harness.load.coordinator.driver import LoadOutcome, drive
from harness.load.coordinator.stopping_rule import Enough
from harness.load.job import Job
from harness.load.kept_answers import Kept, kept_in
from harness.measurement.apart import Apart
from harness.measurement.first_answers import FirstAnswers
from harness.measurement.liveness import gone, liveness
from harness.measurement.workload import Workload
from harness.probe.environment import available_cores, host_cores
from harness.probe.sampler import Sampler
from harness.probe.shared_sampler import Part
from harness.schema.errors import InputError, ServerError
from harness.schema.observed import ArmObserved, Observed
from harness.schema.point import Point
from harness.schema.result import AnswerCheck, ComposingModel, ServerFigures
from harness.schema.samples import GpuReading, HostReading, Window
from harness.schema.turns import Turns
from harness.triton.composing import Composing
from harness.triton.continuity import Continuity
from harness.triton.server import Server
from harness.triton.statistics import Statistics, difference, together
from harness.version import version

if TYPE_CHECKING:
    from harness.measurement.session import Session

Readings = Sampler | Part
"""What is read of the machine while a load lasts."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a measured point has left. Its requests lie in spools in `folder`."""

    point: Point
    folder: Path
    """Of all arms together: which records are this one's says `observed.arm`."""
    observed: Observed
    window: Window | None
    """The measured phase; None where it didn't come to its end, or had no request."""
    host: Sequence[HostReading]
    gpu: Sequence[GpuReading]
    client_cpu_s: float | None
    """CPU seconds of the load processes in the measured phase; None where one didn't say."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What gets the load, on what is served in a session."""

    session: Session
    point: Point
    workload: Workload
    folder: Path
    base_dir: Path
    """The folder that files which the point names are relative to."""
    first_answers: FirstAnswers | None = None
    """Some answers are compared with these, which are those of the same workload."""


def measured(
    arms: Sequence[Arm],
    *,
    turns: Turns | None = None,
    enough: Enough | None = None,
    before_measuring: Callable[[], None] = lambda: None,
) -> list[Recorded]:
    """What each arm has left; several get the same load in `turns`, on servers of their own, and their
    samples are in the first one's folder.

    `enough` as in `Session.measure`. `before_measuring` is called between warm-up and measurement, with
    nothing in flight.

    Raises InputError for what can't be sent or can't take turns. The death of a server on the way is no
    exception, but stands in what was observed of each arm.
    """
    if turns is not None:
        _check(arms, turns)
    first, started_at = arms[0].session, now()
    servers = [arm.session.server for arm in arms]
    courses = [Continuity(arm.session.server, arm.workload.model, arm.workload.version) for arm in arms]
    jobs = [arm.session.job(arm.point, arm.workload, arm.folder, arm.base_dir) for arm in arms]
    job = replace(jobs[0], beside=tuple(jobs[1:]), turns=turns)
    alive = [liveness(server, course, first.stop) for server, course in zip(servers, courses, strict=True)]
    before: list[Statistics] = []
    composing = [_composing(arm) for arm in arms]
    apart = [Apart(arm.session.server, arm.workload.model, arm.workload.version) for arm in arms]

    def between() -> None:
        before_measuring()
        for each in composing:
            if each is not None:
                each.begin()
        for replicas in apart:
            replicas.begin()
        before.extend([course.look() for course in courses])

    spool = arms[0].folder / "gpu.jsonl"
    with first.load_pids() as on_started, first.readings(spool, servers) as readings:
        idle_ns = readings.idle()
        for arm, own in zip(arms, jobs, strict=True):
            if arm.first_answers is not None:
                arm.first_answers.ask_alone(own)
        try:
            outcome = drive(
                job,
                fork_server=first.fork_server,
                enough=enough,
                between=between,
                alive=lambda: next((why for each in alive if (why := each()) is not None), None),
                on_started=on_started,
                say=first.observer.say,
                on_progress=lambda p: first.observer.load(p.phase, p.elapsed_s, p.succeeded, p.failed),
            )
        except ServerError as error:  # between the phases, the server was gone
            outcome = LoadOutcome(job.folder, None, _gone(servers) or str(error))
        # A server that died in the last moment is seen by nobody but us.
        ended = outcome.ended or next((why for s in servers if (why := s.exit_reason()) is not None), None)
        figures: list[ServerFigures | None] = [None] * len(arms)
        problems: tuple[str, ...] = ()
        if ended is None:
            figures, problems = _figures(before, courses)
            ended = _gone(servers) if problems else None
        spread = [each.found() for each in apart]
        worked = [_worked(each) if ended is None else () for each in composing]
    spool.unlink(missing_ok=True)
    shared = Observed(
        harness_version=version(),
        started_at=started_at,
        finished_at=now(),
        window_ns=(outcome.window.start_ns, outcome.window.end_ns) if outcome.window else None,
        ended=ended,
        stopped_by=outcome.stopped_by if ended is None else None,
        enough_ns=outcome.enough_ns if ended is None else None,
        load_processes=outcome.processes,
        server=None,
        cores=available_cores(),
        host_cores=host_cores(),
        gpus=readings.gpus,
        no_gpu=readings.no_gpu,
        gpu_probe=readings.gpu_probe,
        idle_ns=idle_ns,
        problems=(*problems, *readings.problems),
    )
    found = []
    for number, (arm, server, course) in enumerate(zip(arms, servers, courses, strict=True)):
        of_its_own = {
            "arm": _turn(number, arm, turns, outcome),
            "server_restarted": course.broken or apart[number].broken,
            "replicas": spread[number],
            "server": _of_all(arm, figures[number], worked[number]),
            "composing": worked[number],
            "several": _is_of_several(arm),
            "execution_provider": server.execution_provider,
            "loaded": server.loaded,
            "answer_check": _compared(arm, number, jobs[number], job.folder),
        }
        found.append(
            Recorded(
                arm.point,
                job.folder,
                shared.model_copy(update=of_its_own),
                outcome.window,
                readings.host,
                readings.gpu,
                outcome.client_cpu_s,
            )
        )
    return found


def _check(arms: Sequence[Arm], turns: Turns) -> None:
    first = arms[0].point
    if any(len(arm.session.server.replicas) > 1 for arm in arms):
        raise InputError("several replicas are no arm: compare one of each, or one after the other, --apart")
    for point in (arm.point for arm in arms[1:]):
        same = (point.load, point.measure, point.protocol, point.seed, len(point.requests))
        if same != (first.load, first.measure, first.protocol, first.seed, len(first.requests)):
            raise InputError(
                "arms that take turns have the same load, requests, protocol and times: give all the same"
            )
    if any(kind.sequence is not None for kind in first.requests):
        raise InputError(
            "sequences can't be sent to arms in turns: compare them one after the other, --apart"
        )
    if turns.block_s is None and first.load.shape.users != 1:
        raise InputError("only a lone user takes turns request by request: give blocks of time")
    if not first.load.steady_by_design:
        raise InputError(f"a load that changes by design ({first.load.label}) can't be sent in turns")


def _turn(number: int, arm: Arm, turns: Turns | None, outcome: LoadOutcome) -> ArmObserved | None:
    if turns is None:
        return None
    fitted = turns.within(arm.point.measure.duration_s)
    return ArmObserved(number=number, turns=fitted, start_ns=outcome.began_ns)


def _composing(arm: Arm) -> Composing | None:
    served = arm.workload.served
    if served is None or not (served.asks_others or served.beside):
        return None
    return Composing(arm.session.server.control, served)


def _is_of_several(arm: Arm) -> bool:
    """Whether what is measured is no model that computes itself, but several."""
    served = arm.workload.served
    return served is not None and bool(served.composing or served.beside)


def _of_all(
    arm: Arm, figures: ServerFigures | None, worked: Sequence[ComposingModel]
) -> ServerFigures | None:
    """The model's, or of all models that the classes ask; None where they weren't all seen."""
    served = arm.workload.served
    if served is None or not served.beside or figures is None:
        return figures
    asked = dict.fromkeys(each.name for each in served.asked)
    seen = {each.model: each.server for each in worked}
    return together([seen[name] for name in asked]) if asked.keys() <= seen.keys() else None


def _worked(composing: Composing | None) -> tuple[ComposingModel, ...]:
    """Nothing where the server doesn't tell: the figures of the whole are there all the same."""
    try:
        return () if composing is None else composing.found()
    except ServerError:
        return ()


def _gone(servers: Sequence[Server]) -> str | None:
    """Why one of them answers no more; None while all do."""
    return next((why for server in servers if (why := gone(server)) is not None), None)


def _figures(
    before: Sequence[Statistics], courses: Sequence[Continuity]
) -> tuple[list[ServerFigures | None], tuple[str, ...]]:
    try:
        return [difference(then, course.look()) for then, course in zip(before, courses, strict=True)], ()
    except ServerError as error:
        return [None] * len(courses), (str(error),)


def _compared(arm: Arm, number: int, job: Job, folder: Path) -> AnswerCheck | None:
    if arm.first_answers is None:
        return None
    of = None if job.replicas else number
    with closing(job.endpoint.open()) as connection:
        return arm.first_answers.compare(_of_arm(folder, of, len(arm.point.requests)), connection)


def _of_arm(folder: Path, number: int | None, classes: int) -> Iterator[Kept]:
    """The answers that were kept of one arm, or of all replicas, its request classes numbered from 0."""
    for each in kept_in(folder):
        arm, kind = divmod(each.request_class, classes)
        if number is None or arm == number:
            yield each._replace(request_class=kind)
