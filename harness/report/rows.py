"""The table of all points, once: the page, the terminal and the Markdown summary each show these cells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from harness.analysis.objective import Standing, standing
from harness.choice.workloads import by_workload
from harness.report import gpus
from harness.report.answer import short_names
from harness.report.cell import Cell, missing
from harness.report.format import ms, number, percent, setting, span
from harness.report.percentile import percentile_cell
from harness.schema.percentiles import PERCENTILES, figure_title, limit_key
from harness.schema.result import PointResult, RunResult


@dataclass(frozen=True, slots=True)
class Column:
    """Where room is short, the column with the highest `rank` is left out first."""

    title: str
    unit: str
    rank: int
    cell: Callable[[PointResult], Cell]
    numeric: bool = True
    varied: bool = False
    """A setting of the scenario, not something that was measured."""
    elsewhere: bool = False
    """The page has room for it, but in another place."""


@dataclass(frozen=True, slots=True)
class Row:
    """One point: its cells in the order of the columns. `standing` is "none" too where it isn't judged."""

    point: PointResult
    cells: tuple[Cell, ...]
    standing: Standing


def columns(run: RunResult) -> tuple[Column, ...]:
    """What is given, what is chosen, the load, the verdict, then the figures."""
    params = dict.fromkeys(path for p in run.points for path in p.params if not path.startswith("load."))
    given = [path for path in params if any(path in p.point.workload for p in run.points)]
    varied = [*given, *(path for path in params if path not in given)]
    names = short_names(varied)
    return (
        *(
            Column(names[path], "", 0, _param(path), numeric=_numeric(run, path), varied=True)
            for path in varied
        ),
        Column(
            "load", "", 0, lambda p: Cell(p.point.load.label, order=p.point.load.shape.size), numeric=False
        ),
        Column("verdict", "", 0, lambda p: Cell(p.verdict, order=p.verdict), numeric=False),
        *(
            [Column("objective", "", 2, _objective, numeric=False)]
            if any(p.objective for p in run.points)
            else []
        ),
        Column("throughput", "inf/s", 1, _throughput),
        *(
            Column(figure_title(name), "ms", _rank(run, name), _latency(name))
            for name in PERCENTILES
            if name in _RANKS or _any(run, name)
        ),
        Column("errors", "", 2 if any(p.errors for p in run.points) else 4, _errors),
        Column("bottleneck", "", 3, _bottleneck, numeric=False),
        Column("queue", "ms", 6, _server_ms("queue_s")),
        Column("compute", "ms", 6, _compute),
        Column("mean batch", "", 6, _mean_batch),
        *(_GPU_COLUMNS if any(gpus.used_any(p) for p in run.points) else ()),
        Column("server", "cores", 8, _cores("server_cpu_cores", "server"), elsewhere=True),
        Column("client", "cores", 8, _cores("client_cpu_cores", "load generator"), elsewhere=True),
        *([Column("left out", "s", 8, _left_out, elsewhere=True)] if any(map(_skipped, run.points)) else []),
    )


_RANKS = {"p99": 0, "p50": 3, "p95": 5, "p90": 7}
"""The percentiles that a table always has; the others are there where some point has them."""


def _rank(run: RunResult, name: str) -> int:
    """What the objective limits is dearest."""
    limited = any(getattr(p.point.objective, limit_key(name)) is not None for p in run.points)
    return 0 if limited else _RANKS.get(name, 9)


_GPU_COLUMNS = (
    Column("GPU utilization", "", 7, gpus.utilization, elsewhere=True),
    Column("SM activity", "", 6, gpus.sm_activity),
    Column("energy", "J/inf", 6, gpus.energy),
    Column("GPU power", "W", 8, gpus.power, elsewhere=True),
)


def rows(run: RunResult, shown: Iterable[Column], listed: Collection[str] | None = None) -> tuple[Row, ...]:
    """One row a measured point, a workload after the other, each in the order of the run; of the points with
    these ids, where some are listed."""
    shown = tuple(shown)
    return tuple(
        Row(point, tuple(column.cell(point) for column in shown), objective_standing(point))
        for group in by_workload(run.points)
        for point in group
        if listed is None or point.id in listed
    )


def _any(run: RunResult, name: str) -> bool:
    return any(getattr(p.latency_s, name) is not None for p in run.points)


def _skipped(point: PointResult) -> int:
    return point.steady_state.skipped_requests if point.steady_state else 0


def _numeric(run: RunResult, path: str) -> bool:
    return not any(isinstance(p.params.get(path), str) for p in run.points)


def _param(path: str) -> Callable[[PointResult], Cell]:
    def cell(point: PointResult) -> Cell:
        if path not in point.params:
            return missing("this point doesn't have it")
        value = point.params[path]
        return Cell(setting(value), order=value)

    return cell


def objective_standing(point: PointResult) -> Standing:
    """How a point stands against its objective: only a valid one is judged."""
    return standing(point.objective) if point.verdict == "valid" else "none"


def _objective(point: PointResult) -> Cell:
    words = {"met": "met", "missed": "missed", "unknown": "can't tell"}
    stands = objective_standing(point)
    if stands == "none":
        return missing("only a valid point is held against the objective")
    return Cell(words[stands], order=stands)


def _throughput(point: PointResult) -> Cell:
    value = point.throughput_inferences_per_s
    if value is None:
        return missing("no request succeeded")
    return Cell(number(value), span(point.throughput_interval_95, number), order=value)


def _latency(name: str) -> Callable[[PointResult], Cell]:
    return lambda point: percentile_cell(point.latency_s, name, point.requests - point.errors)


def _bottleneck(point: PointResult) -> Cell:
    if point.bottleneck is None:
        return missing("too little was observed to say what limits the point")
    return Cell(point.bottleneck.name, order=point.bottleneck.name)


def _left_out(point: PointResult) -> Cell:
    steady = point.steady_state
    if steady is None or steady.steady is None:
        return missing(steady.why if steady else "whether the point was steady was not tested")
    if not steady.steady:
        return Cell("never steady", order=point.duration_s)
    skipped = f"{steady.skipped_requests:,} requests" if steady.skipped_requests else ""
    return Cell(number(steady.skipped_s), skipped, order=steady.skipped_s)


def _errors(point: PointResult) -> Cell:
    if point.requests == 0:
        return missing("no request ended in the measured phase")
    share = percent(point.errors / point.requests) if point.errors else ""
    return Cell(f"{point.errors:,}", share, order=point.errors)


NO_STATISTICS = "Triton's statistics could not be read"


def _not_observed(point: PointResult) -> str:
    """Why Triton's statistics lack a figure."""
    if point.server is None:
        return NO_STATISTICS
    if point.server.executions == 0:
        cached = ": every answer came from the response cache" if point.server.cache_hits else ""
        return f"the model was not executed{cached}"
    return "Triton's statistics don't have it"


def _server_ms(field: str) -> Callable[[PointResult], Cell]:
    def cell(point: PointResult) -> Cell:
        value = getattr(point.server, field) if point.server else None
        return missing(_not_observed(point)) if value is None else Cell(ms(value), order=value)

    return cell


def _compute(point: PointResult) -> Cell:
    server = point.server
    parts = (server.compute_input_s, server.compute_infer_s, server.compute_output_s) if server else ()
    known = [p for p in parts if p is not None]
    if not known or len(known) < len(parts):
        return missing(_not_observed(point))
    return Cell(ms(sum(known)), order=sum(known))


def _mean_batch(point: PointResult) -> Cell:
    value = point.server.mean_batch if point.server else None
    return missing(_not_observed(point)) if value is None else Cell(number(value), order=value)


def _cores(field: str, who: str) -> Callable[[PointResult], Cell]:
    def cell(point: PointResult) -> Cell:
        value = getattr(point.host, field) if point.host else None
        if value is None:
            return missing(f"the CPU time of the {who} was not observed")
        return Cell(number(value, 2), order=value)

    return cell
