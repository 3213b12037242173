"""`benchmark.json`: figures in the format of pytest-benchmark, for tools that read it.

Source: `BenchmarkSession` and `Metadata.as_dict` of pytest-benchmark 5; of it github-action-benchmark's tool
`pytest` reads `fullname` and, of `stats`, mean, stddev, rounds and ops. A benchmark has every one of its
figures, or isn't there: `pytest-benchmark compare` can't do without one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from harness.analysis.sample_statistics import SampleStatistics, statistics_of
from harness.plain_text import shown
from harness.report.comparison_words import METRIC_WORDS
from harness.schema.ab_result import Comparison
from harness.schema.percentiles import PERCENTILES
from harness.schema.regression_section import Metric
from harness.schema.result import Environment, PointResult, RunResult
from harness.verdict.judge import Round, RoundsOfPoint
from harness.verdict.metrics import METRICS, Compared

NAME = "benchmark.json"
FORMAT = "5.1.0"
"""The release of pytest-benchmark whose format it is."""


def of_run(run: RunResult, statistics: Mapping[str, SampleStatistics | None]) -> str:
    """A benchmark for the latencies of each valid point whose median is supported; the `statistics` of their
    samples go by the point's id. `ops` is 1 over the mean, as everywhere in pytest-benchmark, and the
    throughput stands in `extra_info`."""
    benchmarks = [
        _benchmark(f"{run.scenario}::{point.id}", point.point.label, None, found, _extra(point))
        for point in run.points
        if point.verdict == "valid" and point.latency_s.p50 is not None
        if (found := statistics.get(point.id)) is not None
    ]
    return _document(benchmarks, run.environment, run.finished_at or run.started_at)


def of_comparison(result: Comparison, points: Sequence[RoundsOfPoint]) -> str:
    """A benchmark for each point, metric of time and arm, whose rounds are those of the comparison. The
    throughput stands as seconds a request, so that `ops` is its mean, about."""
    benchmarks = [
        _benchmark(
            f"{arm.scenario}::{point.point}::{compared.name}::{arm.name}",
            f"{point.point}, {METRIC_WORDS[compared.name]}, {arm.name}",
            f"{point.point}, {METRIC_WORDS[compared.name]}",
            found,
            {"metric": compared.name, "arm": arm.name},
        )
        for point in points
        for compared in METRICS
        if compared.name in _SECONDS
        for number, arm in enumerate(result.arms)
        if (found := _of_rounds(point.counted, compared, number)) is not None
    ]
    environment = next((arm.environment for arm in reversed(result.arms) if arm.environment), None)
    return _document(benchmarks, environment, result.finished_at or result.started_at)


_SECONDS: Mapping[Metric, Callable[[float], float]] = {
    "throughput": lambda per_second: 1 / per_second,
    "p50": lambda seconds: seconds,
    "p99": lambda seconds: seconds,
}


def _of_rounds(rounds: Sequence[Round], compared: Compared, arm: int) -> SampleStatistics | None:
    """None where a round hasn't the figure."""
    values = [compared.of((each.baseline, each.candidate)[arm]) for each in rounds]
    known = [value for value in values if value is not None and value > 0]
    if len(known) < len(values):
        return None
    return statistics_of(np.array([_SECONDS[compared.name](value) for value in known]))


def _extra(point: PointResult) -> dict[str, Any]:
    """What is known of a point besides, by the names of result.json."""
    percentiles = {f"{name}_s": getattr(point.latency_s, name) for name in PERCENTILES}
    figures = {
        "throughput_requests_per_s": point.throughput_requests_per_s,
        "throughput_inferences_per_s": point.throughput_inferences_per_s,
        "requests": point.requests,
        "errors": point.errors,
        **percentiles,
    }
    return {name: value for name, value in figures.items() if value is not None} | {"params": point.params}


def _benchmark(
    fullname: str, name: str, group: str | None, found: SampleStatistics, extra: Mapping[str, Any]
) -> dict[str, Any]:
    stats = found._asdict() | {
        "iqr": found.iqr,
        "outliers": f"{found.stddev_outliers};{found.iqr_outliers}",
        "ops": 1 / found.mean,
        "iterations": 1,
    }
    return {
        "group": group and shown(group),
        "name": shown(name),
        "fullname": shown(fullname),
        "params": None,
        "param": None,
        "extra_info": dict(extra),
        "options": {},
        "stats": stats,
    }


def _document(benchmarks: Sequence[dict[str, Any]], environment: Environment | None, at: str) -> str:
    whole = {
        "machine_info": dict(_machine(environment)) if environment else {},
        "commit_info": dict(_commit(environment)) if environment else {},
        "benchmarks": benchmarks,
        "datetime": at,
        "version": FORMAT,
    }
    return json.dumps(whole, indent=1)


def _machine(environment: Environment) -> Iterator[tuple[str, Any]]:
    yield "node", environment.host
    yield "system", environment.os
    yield "release", environment.kernel
    yield "python_version", environment.python
    yield "cpu", {"brand_raw": environment.cpu, "count": environment.cores}
    if environment.gpus:
        yield "gpus", [gpu.name for gpu in environment.gpus]


def _commit(environment: Environment) -> Iterator[tuple[str, Any]]:
    if environment.git_commit is not None:
        yield "id", environment.git_commit.removesuffix("+dirty")
        yield "dirty", environment.git_commit.endswith("+dirty")
