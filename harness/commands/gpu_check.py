"""`harness gpu-check`: does the harness hold on this GPU? A short scenario, a recording, three comparisons.

The encoder behind Triton beside the same ONNX session called directly; the energy counter beside the power
readings integrated; and what the client cost at the highest rate. Nothing of it is judged where it wasn't
measured, and nothing is written on a machine without a GPU.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from harness import atomic, terminal
from harness.calibration.direct import direct
from harness.clock import now, stamp
from harness.commands import page_file
from harness.commands import run as running
from harness.commands.progress import Progress
from harness.interpreter import python
from harness.measurement.testbed import Testbed
from harness.model.export import export
from harness.model.payloads import payloads
from harness.probe.execution_providers import execution_providers
from harness.probe.gpus import availability
from harness.report.gpu_check import gpu_page
from harness.schema.errors import ExitCode, HarnessError
from harness.schema.gpu_check import Beside, ClientShare, Comparison, EnergyCheck, GpuCheck, SmokePoint
from harness.schema.point import Point
from harness.schema.result import GpuFigures, PointResult, RunResult
from harness.store.scenario_file import LoadedScenario

SMOKE = Path("scenarios/gpu-smoke.yaml")
DIRECT = Path("scenarios/gpu-direct.yaml")

ROUNDS = 3
PAYLOADS = 8
"""Different inputs that the session called directly is given in turn."""

ENERGY_WITHIN = 0.1
"""How far the integrated power may be from the energy counter. NVML's power is right to 5% (its reference,
nvmlDeviceGetPowerUsage), and so is the counter."""

RECORDING = "nvml.txt"
RECORDING_ENDS_S = 10.0


def gpu_check(
    *, results: Path, command: str, repository: Path | None = None, progress: Progress | None = None
) -> GpuCheck:
    """Check this machine's GPU; the evidence is in a new folder under `results`.

    Raises HarnessError where there is no GPU to check.
    """
    scenarios = [running.load(file) for file in (SMOKE, DIRECT)]
    if any(point.server.kind != "cpu" for loaded in scenarios for point in loaded.points):
        _refuse_without_gpu()
    progress, testbed = progress or Progress(), Testbed.of(repository=repository)
    started_at = now()
    folder = _evidence(results)
    with _recording(folder / RECORDING) as recorded:
        measured = running.run(scenarios[0], testbed, results=folder, progress=progress)
    assert measured.environment is not None  # it was written a moment ago
    comparison = _comparison(scenarios[1], testbed, folder, progress)
    checks = [check for point in measured.points for check in _energy(point)]
    found = GpuCheck(
        started_at=started_at,
        finished_at=now(),
        command=command,
        path=str(folder),
        environment=measured.environment,
        run=Path(measured.path).name,
        recording=RECORDING if recorded() else None,
        points=tuple(_in_short(point) for point in measured.points),
        comparison=comparison,
        energy=tuple(checks),
        client=_client(measured.points),
        probe=max(
            (p.gpu_probe for p in measured.points if p.gpu_probe is not None),
            key=lambda probe: probe.cpu_cores or 0.0,
            default=None,
        ),
        failures=tuple(_failures(measured, comparison, checks, recorded())),
    )
    atomic.write_text(folder / "gpu-check.json", found.model_dump_json(indent=1))
    atomic.write_text(folder / "gpu.md", gpu_page(found))
    progress.say(f"evidence: {folder}")
    return found


def write_page(found: GpuCheck, file: Path) -> None:
    """Raises HarnessError where it can't be written."""
    page_file.write_page(gpu_page(found), file)


def show(found: GpuCheck) -> None:
    """The page, on stdout."""
    terminal.print_lines(gpu_page(found))


def exit_code(found: GpuCheck) -> ExitCode:
    return ExitCode.INVALID if found.failures else ExitCode.FINE


def _refuse_without_gpu() -> None:
    if (why := availability()) is not None:
        raise HarnessError(f"there is no GPU to check here ({why}): run it on a machine with an NVIDIA GPU")
    cuda = next((p for p in execution_providers() if p.name == "CUDAExecutionProvider"), None)
    if cuda is None or not cuda.usable:
        why = "the installed onnxruntime lacks it: install onnxruntime-gpu" if cuda is None else cuda.reason
        raise HarnessError(f"ONNX Runtime's CUDA provider can't be used here ({why}): see `harness doctor`")


def _evidence(results: Path) -> Path:
    folder = results / f"{stamp()}-gpu-check"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise HarnessError(
            f"{folder} can't be made ({error.strerror}): choose another folder with --results"
        ) from error
    return folder.resolve()


@contextmanager
def _recording(file: Path) -> Iterator[Callable[[], bool]]:
    """A `harness probe --record` of its own for the time of the block; what it yields says whether there is
    a recording, once the block has ended."""
    command = python("-m", "harness", "probe", "--record", str(file), "--for-s", "3600")
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as probe:
        try:
            yield lambda: file.is_file() and file.stat().st_size > 0
        finally:
            probe.terminate()  # which ends a recording as Ctrl-C does
            try:
                probe.wait(RECORDING_ENDS_S)
            except subprocess.TimeoutExpired:
                probe.kill()


def _comparison(loaded: LoadedScenario, testbed: Testbed, folder: Path, progress: Progress) -> Comparison:
    """The first point of the scenario in turns: the session alone on the machine, then Triton alone."""
    point = loaded.points[0]
    name = str(point.model)
    model = export(name, base_dir=loaded.folder, progress=progress.detail, dtype=point.dtype)
    request = point.requests[0]
    inputs = payloads(name, request, base_dir=loaded.folder, count=PAYLOADS, seed=point.seed)
    made = []
    for number in range(1, ROUNDS + 1):
        with progress.doing(f"round {number} of {ROUNDS}: the session called directly"):
            alone = direct(
                model.path,
                inputs,
                provider=_provider(point),
                options={},
                threads=point.server.threads or 1,
                warmup_s=point.measure.warmup_s,
                seconds=point.measure.duration_s,
            )
        progress.say(f"round {number} of {ROUNDS}: behind Triton")
        result = running.run(loaded, testbed, results=folder / "direct", progress=progress).points[0]
        behind = result.throughput_inferences_per_s if result.verdict == "valid" else None
        made.append(
            Beside(
                direct=alone,
                triton_inferences_per_s=behind,
                triton_p50_s=result.latency_s.p50,
                ratio=None if behind is None else behind / alone.inferences_per_s,
                why=None if behind is not None else "; ".join(result.reasons),
            )
        )
    ratios = [each.ratio for each in made if each.ratio is not None]
    return Comparison(
        model=model,
        axes=request.axes,
        batch=request.batch,
        load=point.load.label,
        rounds=tuple(made),
        ratio=median(ratios) if ratios else None,
    )


def _provider(point: Point) -> str:
    if point.server.kind == "cpu":
        return "CPUExecutionProvider"
    return "TensorrtExecutionProvider" if point.server.provider == "tensorrt" else "CUDAExecutionProvider"


def _energy(point: PointResult) -> Iterator[EnergyCheck]:
    for gpu in point.gpu or ():
        if gpu.energy_j and gpu.energy_j_by_power is not None and point.duration_s is not None:
            yield EnergyCheck(
                label=point.point.label,
                device=gpu.device,
                seconds=point.duration_s,
                energy_j=gpu.energy_j,
                energy_j_by_power=gpu.energy_j_by_power,
                ratio=gpu.energy_j_by_power / gpu.energy_j,
            )


def _in_short(result: PointResult) -> SmokePoint:
    gpus = result.gpu or ()
    return SmokePoint(
        label=result.point.label,
        verdict=result.verdict,
        reasons=result.reasons,
        missed=tuple(check.name for check in result.objective if check.met is False),
        inferences_per_s=result.throughput_inferences_per_s,
        inferences_per_s_interval_95=result.throughput_interval_95,
        p50_s=result.latency_s.p50,
        p99_s=result.latency_s.p99,
        sm_activity=_mean(gpus, "sm_activity_mean"),
        energy_j_per_inference=_mean(gpus, "energy_j_per_inference"),
        idle_energy_j_per_inference=_mean(gpus, "idle_energy_j_per_inference"),
    )


def _mean(gpus: Sequence[GpuFigures], figure: str) -> float | None:
    known = [value for gpu in gpus if (value := getattr(gpu, figure)) is not None]
    return sum(known) / len(known) if known else None


def _client(points: Sequence[PointResult]) -> ClientShare | None:
    """What the client used at the valid point with the highest rate of requests."""
    valid = [p for p in points if p.verdict == "valid" and p.throughput_requests_per_s and p.duration_s]
    if not valid:
        return None
    fastest = max(valid, key=lambda p: p.throughput_requests_per_s or 0.0)
    used_s = [process.cpu_s for process in fastest.load_processes if process.cpu_s is not None]
    if not used_s or fastest.throughput_requests_per_s is None or fastest.duration_s is None:
        return None
    return ClientShare(
        label=fastest.point.label,
        protocol=fastest.point.protocol,
        requests_per_s=fastest.throughput_requests_per_s,
        cpu_share=max(used_s) / fastest.duration_s,
        cpu_s_per_request=fastest.host.client_cpu_s_per_request if fastest.host else None,
    )


def _failures(
    measured: RunResult, comparison: Comparison, energy: Sequence[EnergyCheck], recorded: bool
) -> Iterator[str]:
    for point in measured.points:
        where = f"the point {point.point.label}"
        if point.verdict != "valid":
            yield f"{where} is {point.verdict}: {'; '.join(point.reasons)}"
        for check in point.objective:
            if check.met is not True:
                yield f"{where} {'misses' if check.met is False else 'can not be judged by'} {check.name}"
        if point.gpu is None:
            yield f"{where} has no figures of a GPU"
    if len(measured.points) < len(measured.planned):
        yield f"{len(measured.planned) - len(measured.points)} points were not measured"
    if comparison.ratio is None:
        yield "the encoder behind Triton could not be compared with the session called directly"
    if not energy:
        yield "the energy counter could not be compared with the power readings"
    for each in energy:
        if abs(each.ratio - 1) > ENERGY_WITHIN:
            yield (
                f"GPU {each.device} at {each.label}: the power readings give {each.ratio:.2f} times the "
                "energy that its counter gives"
            )
    if not recorded:
        yield "what NVML answered could not be recorded"
