"""`harness calibrate`: the harness against models of known service time, and against perf_analyzer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from harness.calibration import against, coverage, noise, truth
from harness.calibration.station import Station, station
from harness.commands import page_file
from harness.commands.deployment import MODEL_REPOSITORY
from harness.commands.progress import Progress
from harness.load import perf_analyzer
from harness.load.perf_analyzer import PerfAnalyzer
from harness.probe.environment import environment
from harness.report.accuracy import accuracy_page
from harness.schema.calibration import Calibration, Comparison, Coverage, Noise, TruthCase
from harness.schema.errors import ExitCode, HarnessError, InputError
from harness.schema.result import Environment
from harness.triton.install import provision

Part = Literal["truth", "coverage", "against", "noise"]
PARTS: tuple[Part, ...] = get_args(Part)

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
    parts: Sequence[Part],
    *,
    quick: bool = False,
    scale: Scale | None = None,
    repository: Path = MODEL_REPOSITORY,
    progress: Progress | None = None,
) -> Calibration:
    """Do the `parts`; the server is gone when this returns, however it does.

    An interrupt ends it with the parts that were whole by then, and is one of the `failures`. Raises
    HarnessError where the server or perf_analyzer can't run here, and for an interrupt before any was whole.
    """
    scale = scale or (QUICK if quick else FULL)
    progress = progress or Progress()
    started_at = _now()
    if {"against", "noise"} & set(parts) and (missing := perf_analyzer.problem()) is not None:
        raise HarnessError(missing)  # before anything is measured
    done: dict[str, Any] = {}
    failures: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harness-calibrate-")))
        try:
            with progress.doing("Triton and its models"):
                at = stack.enter_context(station(repository, folder))
            where = _environment(at)
            for part in parts:
                done[part], failed = _MEASURE[part](at, folder, scale, progress)
                failures += failed
        except KeyboardInterrupt as error:
            if not done:
                raise HarnessError(
                    "interrupted before any part of the calibration was whole: "
                    "run `harness calibrate` again, or a --part of it"
                ) from error
            rest = ", ".join(part for part in parts if part not in done)
            failures.append(f"interrupted before it was whole: {rest}")
    return Calibration(
        started_at=started_at,
        finished_at=_now(),
        command=_command(parts, quick),
        environment=where,
        quick=quick,
        failures=tuple(failures),
        **done,
    )


def _truth(
    at: Station, _: Path, scale: Scale, progress: Progress
) -> tuple[tuple[TruthCase, ...], Iterator[str]]:
    with progress.doing(f"truth: {len(truth.QUEUES)} queues, {scale.truth_s:g} s"):
        cases = truth.against_truth(at, scale.truth_s, seed=SEED, say=progress.say)
    return cases, truth.failures(cases)


def _coverage(at: Station, _: Path, scale: Scale, progress: Progress) -> tuple[Coverage, Sequence[str]]:
    with progress.doing(f"coverage: {scale.runs} runs"):
        covered = coverage.coverage(
            at,
            scale.runs,
            scale.run_s,
            seed=SEED,
            progress=lambda n: progress.detail(f"coverage: {n} of {scale.runs} runs"),
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
    """The parts asked for, in their order. Raises InputError for an unknown one."""
    if compare_with not in (None, "perf_analyzer"):
        raise InputError(f"--against takes perf_analyzer, not {compare_with!r}")
    wanted = {*parts, *(["against"] if compare_with else [])} or set(PARTS)
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
    print(accuracy_page(found), end="", flush=True)


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
    return environment(
        server_mode="embedded",
        server_url=f"http://{at.server.host}:{at.server.http_port}",
        triton_version=at.server.version,
        backend="Triton's Python backend",
        execution_provider=None,
    )


def _command(parts: Sequence[Part], quick: bool) -> str:
    chosen_parts = [] if tuple(parts) == PARTS else [f"--part {part}" for part in parts]
    return " ".join(["harness calibrate", *chosen_parts, *(["--quick"] if quick else [])])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
