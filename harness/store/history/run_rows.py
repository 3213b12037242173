"""The rows that the index holds of one folder: what of a run's records is listed and set over time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from harness.analysis.outcomes import plan_outcome, run_outcome, tune_outcome
from harness.choice.workloads import answers
from harness.schema.ab_result import Comparison
from harness.schema.answer import Answer
from harness.schema.errors import InputError
from harness.schema.history_result import RunKind, RunOutcome
from harness.schema.night_result import Night
from harness.schema.percentiles import PERCENTILES
from harness.schema.result import Environment, Interval, PointResult, RunResult
from harness.schema.tune_result import TuneResult
from harness.store import ab_file, night_file, plan_file, samples_file, thinned, tune_file, whole
from harness.store.parquet import rows_told
from harness.store.run_folder import RunFolder
from harness.store.whole import is_there

BEGUN = ("run.json", "scenario.json")
"""What a run has from its beginning."""


class RunRow(NamedTuple):
    """As HistoryRun. Times are UTC."""

    folder: str
    run_id: str
    kind: str
    scenario: str
    model: str | None
    host: str | None
    hardware: str | None
    harness_version: str | None
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    why: str | None
    points: int
    valid_points: int
    point: str | None
    p99_s: float | None
    throughput_per_s: float | None
    thinned_at: datetime | None
    triton_version: str | None
    driver: str | None
    """The GPUs'."""


class PointRow(NamedTuple):
    folder: str
    number: int
    """Its place in the folder's rows."""
    point: str
    """What tells it from its neighbours."""
    point_id: str | None
    arm: str | None
    """"baseline" or "candidate" of a comparison."""
    params: str
    """What the scenario varies, in JSON."""
    verdict: str | None
    """None of an arm: what didn't count was left out of its figures."""
    requests: int | None
    errors: int | None


class FigureRow(NamedTuple):
    folder: str
    number: int
    """The point's."""
    metric: str
    value: float
    low: float | None
    high: float | None
    """The 95% interval."""


class ChangeRow(NamedTuple):
    """As MetricVerdict: one metric of one point of a comparison."""

    folder: str
    point: str
    metric: str
    outcome: str
    baseline: float | None
    candidate: float | None
    change: float | None
    low: float | None
    high: float | None
    margin: float
    smallest: float | None
    e_value: float | None
    rounds: int
    why: str


class Rows(NamedTuple):
    """All of one folder."""

    run: RunRow
    points: Sequence[PointRow]
    figures: Sequence[FigureRow]
    changes: Sequence[ChangeRow] = ()


def rows_of(path: Path, name: str, *, thorough: bool) -> Rows:
    """The rows of a folder that came to its end. `name`: how the index calls it. `thorough`: samples are read
    through, with the checksum of each of their pages; otherwise only what their files say of themselves is.

    Raises InputError for one that isn't finished, isn't whole, or is of a later harness.
    """
    folder = RunFolder(path)
    for record, read in _READERS.items():
        if is_there(path / record):
            found = read(folder, name)
            break
    else:
        found = _of_run(folder, name, thorough)
    gone = thinned.read(path)
    return (
        found if gone is None else found._replace(run=found.run._replace(thinned_at=_time(gone.thinned_at)))
    )


def _of_run(folder: RunFolder, name: str, thorough: bool) -> Rows:
    result = None if _without_result(folder.path) else folder.read_result()
    if result is None or result.finished_at is None:
        many = "no point" if result is None else f"{len(result.points)} of {len(result.planned)} points"
        raise InputError(
            f"{folder.path} isn't finished ({many}): `harness run {folder.path} --resume` goes on"
        )
    if thinned.read(folder.path) is None:
        for point in result.points:
            samples = folder.point(point.id) / "requests.parquet"
            if thorough:
                samples_file.check_pages(samples)
            if rows_told(samples) < point.requests:
                raise whole.damaged(samples, "it has fewer requests than the result counts")
    best = _best(result)
    run = _run_row(
        name,
        "run",
        result,
        result.environment,
        model=result.model_name if result.points else None,
        outcome=run_outcome(result),
        points=len(result.points),
        valid_points=sum(point.verdict == "valid" for point in result.points),
        point=None if best is None else best.point.label,
        p99_s=None if best is None else best.latency_s.p99,
        throughput_per_s=None if best is None else best.throughput_requests_per_s,
    )
    points = [_point_row(name, number, point) for number, point in enumerate(result.points)]
    figures = [row for number, point in enumerate(result.points) for row in _figures(name, number, point)]
    return Rows(run, points, figures)


def _without_result(run: Path) -> bool:
    """Whether it is a run that was begun, and has no result yet."""
    return not is_there(run / "result.json") and any(is_there(run / name) for name in BEGUN)


def _of_tune(folder: RunFolder, name: str) -> Rows:
    result = tune_file.read(folder)
    if result.finished_at is None:
        raise InputError(f"{folder.path} isn't finished: `harness tune {folder.path} --resume` goes on")
    found = [each for each in result.candidates if each.number == result.recommended]
    words = (
        ", ".join(f"{path.split('.')[-1]} {value}" for path, value in found[0].settings.items())
        if found
        else None
    )
    models = folder.about(1).models
    run = _run_row(
        name,
        "tune",
        result,
        result.environment,
        model=models[0].name if models else None,
        outcome=tune_outcome(result),
        points=len(result.candidates),
        valid_points=sum(each.capacity_per_s.value is not None for each in result.candidates),
        point=words,
        p99_s=found[0].p99_s if found else None,
        throughput_per_s=found[0].capacity_per_s.value if found else None,
    )
    return Rows(run, (), ())


def _of_plan(folder: RunFolder, name: str) -> Rows:
    result = plan_file.read(folder)
    run = RunRow(
        folder=name,
        run_id=result.run_id,
        kind="plan",
        scenario=_scenario(result.scenario),
        model=result.model,
        host=None,
        hardware=", ".join(each.name for each in result.hardware) or None,
        harness_version=result.harness_version,
        started_at=_time(result.made_at),
        finished_at=_time(result.made_at),
        outcome=plan_outcome(result),
        why=None,
        points=sum(each.points_used for each in result.hardware),
        valid_points=sum(each.points_used for each in result.hardware),
        point=None,
        p99_s=None,
        throughput_per_s=None,
        thinned_at=None,
        triton_version=None,
        driver=None,
    )
    return Rows(run, (), ())


def _of_night(folder: RunFolder, name: str) -> Rows:
    night = night_file.read(folder.path)
    if night.finished_at is None:
        raise InputError(f"{folder.path} is a night that was cut off, or goes on: it has no verdict")
    if night.comparison is not None:
        return _of_arms(name, "nightly", night, night.comparison, night.scenario, night.outcome)
    run = _run_row(name, "nightly", night, None, outcome=night.outcome, points=0, valid_points=0)
    return Rows(run, (), ())


def _of_comparison(folder: RunFolder, name: str) -> Rows:
    result = ab_file.read(folder.path)
    if result.finished_at is None:
        raise InputError(f"{folder.path} is a comparison that was cut off, or goes on: it has no verdict")
    scenario = f"{result.arms[0].scenario} vs {result.arms[1].scenario}"
    return _of_arms(name, "ab", result, result, scenario, result.outcome)


_READERS = {
    night_file.NAME: _of_night,
    ab_file.NAME: _of_comparison,
    tune_file.NAME: _of_tune,
    plan_file.NAME: _of_plan,
}
"""By the record that tells the kind; a night has the comparison's, too, and so comes first."""


def _of_arms(
    name: str,
    kind: RunKind,
    record: Night | Comparison,
    comparison: Comparison,
    scenario: str,
    outcome: RunOutcome,
) -> Rows:
    candidate = comparison.arms[1]
    run = _run_row(
        name,
        kind,
        record,
        candidate.environment,
        scenario=scenario,
        model=candidate.models[0].name if candidate.models else None,
        outcome=outcome,
        points=len(comparison.points),
        valid_points=sum(point.outcome != "inconclusive" for point in comparison.points),
    )
    points: list[PointRow] = []
    figures: list[FigureRow] = []
    changes: list[ChangeRow] = []
    for point in comparison.points:
        for arm in ("baseline", "candidate"):
            number, params = len(points), json.dumps(point.params)
            points.append(PointRow(name, number, point.point, None, arm, params, None, None, None))
            values = ((each.metric, getattr(each, arm)) for each in point.metrics)
            figures += (FigureRow(name, number, m, v, None, None) for m, v in values if v is not None)
        for each in point.metrics:
            low, high = (None if each.change is None else each.change.interval_95) or (None, None)
            changes.append(
                ChangeRow(
                    name,
                    point.point,
                    each.metric,
                    each.outcome,
                    each.baseline,
                    each.candidate,
                    None if each.change is None else each.change.value,
                    low,
                    high,
                    each.margin,
                    each.smallest,
                    each.e_value,
                    len(each.rounds),
                    each.why,
                )
            )
    return Rows(run, points, figures, changes)


def _run_row(
    name: str,
    kind: RunKind,
    record: RunResult | TuneResult | Night | Comparison,
    where: Environment | None,
    *,
    outcome: RunOutcome,
    points: int,
    valid_points: int,
    scenario: str | None = None,
    model: str | None = None,
    point: str | None = None,
    p99_s: float | None = None,
    throughput_per_s: float | None = None,
) -> RunRow:
    assert record.finished_at is not None
    return RunRow(
        folder=name,
        run_id=record.run_id,
        kind=kind,
        scenario=_scenario(getattr(record, "scenario", "") if scenario is None else scenario),
        model=model,
        host=None if where is None else where.host,
        hardware=None if where is None else _hardware(where),
        harness_version=None if where is None else where.harness_version,
        started_at=_time(record.started_at),
        finished_at=_time(record.finished_at),
        outcome=outcome,
        why=record.why if isinstance(record, Night) else None,
        points=points,
        valid_points=valid_points,
        point=point,
        p99_s=p99_s,
        throughput_per_s=throughput_per_s,
        thinned_at=None,
        triton_version=None if where is None else where.triton_version,
        driver=None if where is None else _drivers(where),
    )


def _hardware(where: Environment) -> str:
    names = [gpu.name for gpu in where.gpus if gpu.mig_instance is None]
    each = {name: names.count(name) for name in names}
    return ", ".join(f"{many}× {name}" if many > 1 else name for name, many in each.items()) or where.cpu


def _drivers(where: Environment) -> str | None:
    return ", ".join(sorted({gpu.driver for gpu in where.gpus if gpu.driver is not None})) or None


def _scenario(name: str) -> str:
    return name.removesuffix(".yaml").removesuffix(".yml")


def _time(iso: str) -> datetime:
    """UTC, without saying so. Raises InputError for what is no time."""
    try:
        return datetime.fromisoformat(iso).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{iso!r} in its record is no time: take the record from a copy of the run"
        ) from error


def _best(result: RunResult) -> PointResult | None:
    """The best point of the first workload."""
    given: Iterable[Answer] = result.answers or answers(result.points)
    best = next((answer.best for answer in given), None)
    return next((point for point in result.points if point.id == best), None)


def _point_row(name: str, number: int, point: PointResult) -> PointRow:
    return PointRow(
        folder=name,
        number=number,
        point=point.point.label,
        point_id=point.id,
        arm=None,
        params=json.dumps(point.params),
        verdict=point.verdict,
        requests=point.requests,
        errors=point.errors,
    )


def _figures(name: str, number: int, point: PointResult) -> Iterator[FigureRow]:
    """The figures that the point has, each with its interval where it has one."""
    for metric, value, interval in _values(point):
        if value is not None:
            low, high = interval or (None, None)
            yield FigureRow(name, number, metric, value, low, high)


def _values(point: PointResult) -> Iterator[tuple[str, float | None, Interval | None]]:
    latency = point.latency_s
    for metric in (*PERCENTILES, "mean"):
        yield metric, getattr(latency, metric), latency.interval_95.get(metric)
    inferences, requests = point.throughput_inferences_per_s, point.throughput_requests_per_s
    interval = point.throughput_interval_95
    yield "inferences", inferences, interval
    if interval is not None and requests is not None and inferences:  # the interval is that of the inferences
        interval = (interval[0] * requests / inferences, interval[1] * requests / inferences)
    yield "throughput", requests, interval
    yield "error_rate", point.errors / point.requests if point.requests else None, None
    yield "queue", None if point.server is None else point.server.queue_s, None
    yield "compute", None if point.server is None else point.server.compute_infer_s, None
    yield "energy", _sum(gpu.energy_j_per_inference for gpu in point.gpu or ()), None
    yield "gpu_memory", _sum(gpu.server_memory_bytes_max for gpu in point.gpu or ()), None


def _sum(values: Iterable[float | None]) -> float | None:
    """None where one is, or there are none."""
    found = list(values)
    known = [value for value in found if value is not None]
    return float(sum(known)) if known and len(known) == len(found) else None
