"""What a tracking server is told of a run, a comparison or a night: parameters, metrics, tags and files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from harness.schema.ab_result import Comparison
from harness.schema.model import Model
from harness.schema.night_result import Night
from harness.schema.percentiles import PERCENTILES
from harness.schema.point import Setting
from harness.schema.result import Environment, PointResult, RunResult

RUN_FILES = ("report.html", "result.json", "summary.md", "scenario.yaml", "scenario.json", "environment.json")
ARM_FILES = ("scenario.yaml", "scenario.json", "environment.json")
COMPARISON_FILES = ("ab.html", "ab.json", "summary.md", "junit.xml", "benchmark.json")


class Metric(NamedTuple):
    name: str
    value: float
    step: int
    """The number of the point, from 0."""


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """One run of a tracking server."""

    run_id: str
    started_ms: int
    ended_ms: int
    """Since 1970."""
    params: Mapping[str, str]
    metrics: Sequence[Metric]
    tags: Mapping[str, str]
    files: Sequence[str]
    """Relative to the folder; those that aren't there are left out."""
    model: Model | None
    """What was measured, or the candidate."""

    @property
    def key(self) -> str:
        """The same for the same run only, whatever its folder is called: 32 hexadecimal digits."""
        told = f"{self.run_id}\n{self.started_ms}\n{self.tags.get('harness.host', '')}"
        return hashlib.sha256(told.encode()).hexdigest()[:32]


def of_run(run: RunResult) -> TrackedRun:
    """The metrics are those of points that aren't invalid."""
    params = _environment(run.environment) | {"scenario": run.scenario, "model": run.model_name}
    params |= _shared([point.workload | point.configuration for point in run.points])
    params |= _points(f"{point.point.label} ({point.verdict})" for point in run.points)
    verdicts = {point.verdict for point in run.points}
    outcome = next((one for one in ("invalid", "inconclusive") if one in verdicts), "valid")
    figures = (
        Metric(name, value, step)
        for step, point in enumerate(run.points)
        if point.verdict != "invalid"
        for name, value in _figures(point)
        if value is not None
    )
    return TrackedRun(
        run_id=run.run_id,
        started_ms=_ms(run.started_at),
        ended_ms=_ms(run.finished_at or run.points[-1].started_at),
        params=params,
        metrics=tuple(figures),
        tags=_tags("run", outcome, run.environment, run.model),
        files=(*RUN_FILES, "benchmark.json"),
        model=run.model,
    )


def of_comparison(found: Comparison) -> TrackedRun:
    """The metrics are each arm's, and the change with its interval."""
    candidate = found.arms[1]
    model = candidate.models[0] if candidate.models else None
    params = _environment(candidate.environment) | {
        "baseline": found.arms[0].scenario,
        "candidate": candidate.scenario,
        "in_turns": str(found.in_turns),
    }
    params |= {f"differs.{name}": " -> ".join(both) for name, both in found.differs.items()}
    params |= _points(f"{point.point} ({point.outcome})" for point in found.points)
    return TrackedRun(
        run_id=found.run_id,
        started_ms=_ms(found.started_at),
        ended_ms=_ms(found.finished_at or found.started_at),
        params=params,
        metrics=tuple(_compared(found)),
        tags=_tags("ab", found.outcome, candidate.environment, model),
        files=(*COMPARISON_FILES, *(f"{arm.name}/{name}" for arm in found.arms for name in ARM_FILES)),
        model=model,
    )


def of_night(night: Night) -> TrackedRun:
    """As its comparison, where it has one, with its baseline and why."""
    found = None if night.comparison is None else of_comparison(night.comparison)
    params = {"scenario": night.scenario} | dict(found.params if found else {})
    if night.baseline is not None:
        params["baseline.accepted_at"] = night.baseline.accepted_at
        params["baseline.reason"] = night.baseline.reason
    of_its_own = {"harness.kind": "nightly", "harness.outcome": night.outcome, "harness.why": night.why}
    return TrackedRun(
        run_id=night.run_id,
        started_ms=_ms(night.started_at),
        ended_ms=_ms(night.finished_at or night.started_at),
        params=params,
        metrics=() if found is None else found.metrics,
        tags=dict(found.tags if found else {}) | of_its_own,
        files=("nightly.json", *(found.files if found else ())),
        model=None if found is None else found.model,
    )


def _figures(point: PointResult) -> Iterator[tuple[str, float | None]]:
    yield "throughput_requests_per_s", point.throughput_requests_per_s
    yield "throughput_inferences_per_s", point.throughput_inferences_per_s
    yield "latency_mean_s", point.latency_s.mean
    for name in PERCENTILES:
        yield f"latency_{name}_s", getattr(point.latency_s, name)
    yield "requests", float(point.requests)
    yield "errors", float(point.errors)
    yield "in_flight_mean", point.in_flight_mean
    if point.server is not None:
        yield "mean_batch", point.server.mean_batch
    for gpu in point.gpu or ():
        yield f"gpu{gpu.device}_utilization_mean", gpu.utilization_mean
        yield f"gpu{gpu.device}_power_w_mean", gpu.power_w_mean
        yield f"gpu{gpu.device}_energy_j_per_inference", gpu.energy_j_per_inference


def _compared(found: Comparison) -> Iterator[Metric]:
    for step, point in enumerate(found.points):
        for metric in point.metrics:
            change = metric.change
            low, high = (change and change.interval_95) or (None, None)
            for name, value in (
                ("baseline", metric.baseline),
                ("candidate", metric.candidate),
                ("change", None if change is None else change.value),
                ("change_low", low),
                ("change_high", high),
            ):
                if value is not None:
                    yield Metric(f"{metric.metric}.{name}", value, step)


def _shared(settings: Sequence[Mapping[str, Setting | None]]) -> dict[str, str]:
    """Those that are the same at each point; the others stand in the points' labels."""
    first = settings[0] if settings else {}
    return {
        name: str(value)
        for name, value in first.items()
        if value is not None and all(each.get(name) == value for each in settings)
    }


def _points(labels: Iterable[str]) -> dict[str, str]:
    return {f"point.{step}": label for step, label in enumerate(labels)}


def _environment(environment: Environment | None) -> dict[str, str]:
    if environment is None:
        return {}
    told = {
        "host": environment.host,
        "cpu": environment.cpu,
        "gpus": ", ".join(gpu.name for gpu in environment.gpus) or None,
        "triton_version": environment.triton_version,
        "server_mode": environment.server_mode,
        "backend": environment.backend,
        "execution_provider": environment.execution_provider,
    }
    return {name: value for name, value in told.items() if value is not None}


def _tags(kind: str, outcome: str, environment: Environment | None, model: Model | None) -> dict[str, str]:
    told: dict[str, str | None] = {
        "harness.kind": kind,
        "harness.outcome": outcome,
        "harness.version": environment.harness_version if environment else None,
        "harness.host": environment.host if environment else None,
        "harness.model_sha256": model.sha256 if model else None,
        "mlflow.source.name": f"harness {kind}",
        "mlflow.source.git.commit": environment.git_commit if environment else None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _ms(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)
