"""`harness calibrate`: the harness against models of known service time, and against perf_analyzer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import terminal
from harness.calibration import against, coverage, noise, perf_analyzer, truth
from harness.calibration.perf_analyzer import PerfAnalyzer
from harness.calibration.station import Station, station
from harness.clock import now
from harness.commands import page_file
from harness.commands.progress import Progress
from harness.report.accuracy import accuracy_page
from harness.schema.calibration import (
    PARTS,
    Calibration,
    Comparison,
    Coverage,
    Noise,
    Part,
    PartRun,
    TruthCase,
)
from harness.schema.errors import ExitCode, HarnessError, InputError
from harness.schema.result import Environment
from harness.store import calibration_file
from harness.triton.install import provision

SEED = 1


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    truth_s: float
    runs: int
    run_s: float
    rounds: int
    round_s: float
    noisy: int
    noisy_s: float


FULL = Scale(truth_s=1800, runs=100, run_s=coverage.P99_TAKES_S, rounds=5, round_s=3, noisy=20, noisy_s=10)
QUICK = Scale(truth_s=12, runs=3, run_s=3, rounds=1, round_s=1, noisy=2, noisy_s=5)


def calibrate(
    named: Sequence[Part] = (),
    *,
    quick: bool = False,
    record: Path | None = None,
    scale: Scale | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Measure the parts that are `named`, else all; the server is gone when this returns, however it does.

    Each part is in the file `record` as soon as it is whole. One that is there already, of the same harness
    on the same machine, is measured again only where it is named.

    An interrupt or an error ends it with the parts that were whole by then, and is one of the `failures`.
    Raises HarnessError where the server or perf_analyzer can't run here, and for an interrupt before any was
    whole; InputError where `record` is of something else.
    """
    scale = scale or (QUICK if quick else FULL)
    progress = progress or Progress()
    found = calibration_file.read(record, quick=quick) if record is not None else None
    parts = tuple(named) or tuple(part for part in PARTS if found is None or part not in found.measured)
    if found is not None and not parts:
        progress.say(f"every part is in {record} already: name one by --part to measure it again")
        return found
    if {"against", "noise"} & set(parts) and (problem := perf_analyzer.problem()) is not None:
        raise HarnessError(problem)  # before anything is measured
    command = _command(named, quick, record)
    whole: list[Part] = []
    ended = ""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harness-calibrate-")))
        try:
            with progress.doing("Triton and its models"):
                at = stack.enter_context(station(folder))
            found = _begun(found, record, _environment(at), quick)
            _keep(found, record)  # where it can't be written is known before anything is measured
            for part in parts:
                began_at = now()
                figures, failures = _MEASURE[part](at, folder, scale, progress)
                run = PartRun(
                    command=command, started_at=began_at, finished_at=now(), failures=tuple(failures)
                )
                found = _with(found, part, figures, run)
                whole.append(part)
                try:
                    _keep(found, record)
                except HarnessError as error:
                    progress.say(str(error))  # the page has it all the same
        except KeyboardInterrupt as error:
            if found is None or not whole:
                raise HarnessError(
                    "interrupted before any part of the calibration was whole: "
                    "run `harness calibrate` again, or a --part of it"
                ) from error
            ended = "interrupted"
        except HarnessError as error:
            if found is None or not whole:
                raise
            ended = f"ended by an error ({error})"
    rest = ", ".join(part for part in parts if part not in whole)
    if rest:
        missing = f"{ended} before it was whole: {rest}"
        found = found.model_copy(update={"failures": (*found.failures, missing)})
    return found


def _begun(earlier: Calibration | None, record: Path | None, where: Environment, quick: bool) -> Calibration:
    """The record as it is before the first part."""
    if earlier is None or record is None:
        return Calibration(environment=where, quick=quick, measured={})
    where = calibration_file.same_place(record, earlier.environment, where)
    return earlier.model_copy(update={"environment": where})


def _keep(found: Calibration, record: Path | None) -> None:
    if record is not None:
        calibration_file.write(record, found)


def _with(found: Calibration, part: Part, figures: Any, run: PartRun) -> Calibration:
    """`found` with what a part gave now, the times before beside it."""
    measured = {**found.measured, part: (*found.measured.get(part, ()), run)}
    last = (measured[each][-1] for each in PARTS if each in measured)
    failures = tuple(failure for run in last for failure in run.failures)
    return found.model_copy(update={part: figures, "measured": measured, "failures": failures})


def _truth(
    at: Station, _: Path, scale: Scale, progress: Progress
) -> tuple[tuple[TruthCase, ...], Iterator[str]]:
    at.serve(truth.models())
    with progress.doing(f"truth: {len(truth.QUEUES)} queues, {scale.truth_s:g} s"):
        cases = truth.against_truth(at, scale.truth_s, seed=SEED, say=progress.say)
    return cases, truth.failures(cases)


def _coverage(at: Station, _: Path, scale: Scale, progress: Progress) -> tuple[Coverage, Sequence[str]]:
    at.serve(coverage.MODELS)
    with progress.doing(f"coverage: {scale.runs} runs"):
        covered = coverage.coverage(
            at,
            scale.runs,
            scale.run_s,
            seed=SEED,
            progress=lambda done, of: progress.detail(f"coverage: {done} of {of} runs"),
        )
    return covered, coverage.failures(covered)


def _against(
    at: Station, folder: Path, scale: Scale, progress: Progress
) -> tuple[tuple[Comparison, ...], Iterator[str]]:
    analyzer = _perf_analyzer(folder / "perf_analyzer")
    compared = []
    for each in against.against(
        at, analyzer, rounds=scale.rounds, seconds=scale.round_s, progress=progress.detail
    ):
        compared.append(each)
        progress.say(_comparison(each))
    return tuple(compared), against.failures(compared)


def _noise(at: Station, folder: Path, scale: Scale, progress: Progress) -> tuple[Noise, Iterator[str]]:
    at.serve(noise.MODELS)
    analyzer = _perf_analyzer(folder / "perf_analyzer")
    with progress.doing(f"{scale.noisy} points that perf_analyzer gives up on"):
        noisy = noise.noise(
            at, analyzer, wanted=scale.noisy, at_most_s=scale.noisy_s, progress=progress.detail
        )
    return noisy, noise.failures(noisy)


_MEASURE: dict[Part, Callable[[Station, Path, Scale, Progress], tuple[Any, Iterable[str]]]] = {
    "truth": _truth,
    "coverage": _coverage,
    "against": _against,
    "noise": _noise,
}
"""What each part gives, and what is wrong with it, one sentence each."""


def chosen(parts: Sequence[str], compare_with: str | None) -> tuple[Part, ...]:
    """The parts named, in their order; none where none is. Raises InputError for an unknown one."""
    if compare_with not in (None, "perf_analyzer"):
        raise InputError(f"--against takes perf_analyzer, not {compare_with!r}")
    wanted = {*parts, *(["against"] if compare_with else [])}
    for unknown in sorted(wanted - set(PARTS)):
        raise InputError(f"--part takes {', '.join(PARTS)}, not {unknown!r}")
    return tuple(part for part in PARTS if part in wanted)


def write_page(found: Calibration, file: Path) -> None:
    """Raises HarnessError where it can't be written."""
    page_file.write_page(accuracy_page(found), file)


def document(found: Calibration, compare_with: str | None) -> Calibration | dict[str, Any]:
    """What `--json` prints: of `--against` the ratios alone."""
    return found if compare_with is None else against.printed(found.against or ())


def show(found: Calibration) -> None:
    """The page, on stdout."""
    terminal.print_lines(accuracy_page(found))


def exit_code(found: Calibration) -> ExitCode:
    return ExitCode.INVALID if found.failures else ExitCode.FINE


def _comparison(found: Comparison) -> str:
    if found.cpu_ratio is None or found.throughput_ratio is None:
        return f"{found.protocol}, concurrency {found.concurrency}: {found.why}"
    return (
        f"{found.protocol}, concurrency {found.concurrency}: client CPU {found.cpu_ratio:.2f}, "
        f"throughput {found.throughput_ratio:.2f} of perf_analyzer's"
    )


def _perf_analyzer(folder: Path) -> PerfAnalyzer:
    (cudart,) = provision().libs.glob("libcudart-*.so.12*")
    return PerfAnalyzer(cudart, folder)


def _environment(at: Station) -> Environment:
    # Its models are no ONNX files, and its command line names folders that no other calibration has.
    own = {"backend": "Triton's Python backend", "execution_provider": None, "server_command": None}
    return at.session.environment.model_copy(update=own)


def _command(named: Sequence[Part], quick: bool, record: Path | None) -> str:
    parts = [f"--part {part}" for part in named]
    # The page is for others to read: a record's folder says nothing to them but where one user keeps things.
    kept = [] if record is None else [f"--record {record.name}"]
    return " ".join(["harness calibrate", *parts, *kept, *(["--quick"] if quick else [])])
