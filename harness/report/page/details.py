"""What the page says of one point besides its charts: every figure, with its interval or why it has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.analysis.gpu import gpu_name
from harness.report.cell import Cell, footnotes
from harness.report.environment import GPU_FACTS
from harness.report.format import count, memory, ms, number, percent, span
from harness.report.gpus import FACTS as GPU_FIGURES
from harness.report.page.overview import TIME_PARTS
from harness.report.percentile import figure_cell, settling
from harness.schema.percentiles import PERCENTILES, figure_title
from harness.schema.result import (
    AnswerCheck,
    Environment,
    Latency,
    LoadProcess,
    PointResult,
    RunResult,
    SequenceFigures,
    ServerFigures,
    SteadyState,
)

Fact = tuple[str, str | None]
"""A name and a value in words; None for what was not observed."""

ENDED = {
    "duration": "its time (duration_s)",
    "precision": "intervals as narrow as asked",
    "time": "at_most_s, before the intervals were as narrow as asked",
}


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """One figure, from the intended and from the actual send. `why` says why it isn't known; `value` is then
    a dash, or what it is at least, and `interval` the sample's own."""

    name: str
    value: str
    interval: str
    why: str
    service: str
    service_interval: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the mean latency. `share` is 0 to 1, and 0 where not all parts were observed."""

    name: str
    value: str | None
    share: float


@dataclass(frozen=True, slots=True)
class CellTable:
    """`rows` are a name and its cells, one for each of `titles`. `footnotes` number the reasons of dashes."""

    titles: list[tuple[str, str]]
    """The titles, each with its unit."""
    rows: list[tuple[Any, list[Cell]]]
    footnotes: dict[str, int]

    @classmethod
    def of(cls, titles: list[tuple[str, str]], rows: list[tuple[Any, list[Cell]]]) -> CellTable:
        return cls(titles, rows, footnotes(cell for _, cells in rows for cell in cells))


def gpu_table(run: RunResult) -> CellTable:
    """Every GPU at every point, in short: a row's name is the point and the GPU."""
    brief = [fact for fact in GPU_FIGURES if fact.brief]
    rows = [((p, g), [fact.cell(g) for fact in brief]) for p in run.points for g in p.gpu or ()]
    return CellTable.of([(fact.title, fact.unit) for fact in brief], rows)


def gpu_figures(point: PointResult) -> tuple[dict[str, CellTable], dict[str, int]]:
    """Everything that is known of the GPUs at one point, a row a figure, a column a GPU; by group, and the
    footnotes of all groups."""
    titles = [(gpu_name(gpu), gpu.name) for gpu in point.gpu or ()]
    rows = [(f, [f.cell(gpu) for gpu in point.gpu or ()]) for f in GPU_FIGURES]
    tables = {
        group: CellTable.of(titles, [((f.title, f.unit), cells) for f, cells in rows if f.group == group])
        for group in ("activity", "energy", "state")
    }
    return tables, footnotes(cell for _, cells in rows for cell in cells)


def gpus_there(environment: Environment | None) -> CellTable:
    """The GPUs of the machine, a row each."""
    rows = [
        (gpu_name(gpu), [words(gpu) for _, words in GPU_FACTS])
        for gpu in (environment.gpus if environment else ())
    ]
    return CellTable.of([(title, "") for title, _ in GPU_FACTS], rows)


def latency_rows(latency: Latency, service: Latency | None = None) -> list[LatencyRow]:
    rows = []
    for name in (*PERCENTILES, "mean", "min", "max"):
        cell = figure_cell(latency, name)
        other = getattr(service, name) if service else None
        rows.append(
            LatencyRow(
                name=figure_title(name),
                value=cell.text,
                interval=cell.small,
                why="; ".join(filter(None, (cell.why, settling(latency, name)))),
                service="" if other is None else ms(other),
                service_interval=span(service.interval_95.get(name), ms) if service else "",
            )
        )
    return rows


def _left_out(point: PointResult, cut: SteadyState) -> str:
    """What counts in no latency figure, in words."""
    parts = []
    if cut.skipped_requests:
        parts.append(f"first {number(cut.skipped_s)} s, {count(cut.skipped_requests, 'request')}")
    later = point.requests - point.errors - cut.skipped_requests - (cut.counted_requests or 0)
    if cut.counted_requests is not None and later > 0:
        parts.append(f"{count(later, 'request')} that were due when there were enough")
    return "; ".join(parts) or "nothing"


def _same_answers(seen: AnswerCheck) -> str:
    """Whether the model said the same as it first did, in words."""
    words = []
    if seen.validated:
        words.append(
            f"{seen.validated:,} validated, {f'{seen.wrong:,} wrong' if seen.wrong else 'all right'}"
        )
    if seen.against_first:
        said = "all the same as" if not seen.unlike_first else f"{seen.unlike_first:,} other than"
        words.append(f"{seen.against_first:,} compared, {said} the first to their payload")
    return "; ".join(words)


def _sequences(seen: SequenceFigures | None) -> list[Fact]:
    if seen is None:
        return []
    steps = "" if seen.steps_mean is None else f" of {number(seen.steps_mean)} steps on average"
    ends = [f"{n:,} {word}" for n, word in ((seen.cut, "cut by the end"), (seen.failed, "failed")) if n]
    p50, p99 = seen.latency_s.p50, seen.latency_s.p99
    latency = [f"{name} {ms(value)} ms" for name, value in (("p50", p50), ("p99", p99)) if value is not None]
    return [
        ("Sequences", ", ".join([f"{seen.whole:,}{steps}", *ends])),
        ("A sequence takes", ", ".join(latency) or None),
    ]


def how_measured(point: PointResult) -> list[Fact]:
    """How the point was measured."""
    cut = point.steady_state
    left_out = None
    if cut is not None and cut.steady is not None:
        left_out = _left_out(point, cut)
    facts: list[Fact] = [
        ("Requests", f"{point.requests:,}" + (f", {count(point.errors, 'error')}" if point.errors else "")),
        ("Measured for", None if point.duration_s is None else f"{number(point.duration_s)} s"),
        ("Ended by", ENDED[point.stopped_by] if point.stopped_by else "it didn't come to its end"),
        ("Left out", left_out),
        ("Steady", cut.why if cut else None),
        *([("Answers", _same_answers(point.answer_check))] if point.answer_check else []),
        *([("Computed by", point.execution_provider)] if point.execution_provider else []),
        *_sequences(point.sequences),
        ("In flight, mean", None if point.in_flight_mean is None else number(point.in_flight_mean)),
    ]
    if point.point.load.open_loop:
        lag_s = point.send_lag_p99_s
        facts.append(("Send lag, p99", None if lag_s is None else f"{ms(lag_s)} ms"))
    return facts


def host(point: PointResult) -> list[Fact]:
    """Who used the host's cores, and its memory."""
    if point.host is None:
        return []
    h = point.host

    def cores(value: float | None) -> str | None:
        return None if value is None else f"{number(value, 2)} cores"

    def size(value: int | None) -> str | None:
        return None if value is None else memory(value)

    per_request = h.client_cpu_s_per_request
    return [
        ("Triton", cores(h.server_cpu_cores)),
        ("Load generator", cores(h.client_cpu_cores)),
        ("Load generator, a request", None if per_request is None else f"{number(per_request * 1e6)} µs"),
        ("harness itself", cores(h.harness_cpu_cores)),
        ("Other processes", cores(h.foreign_cpu_cores)),
        ("Taken by the hypervisor", cores(h.stolen_cpu_cores)),
        *([("Withheld by the quota", cores(h.throttled_cpu_cores))] if h.throttled_cpu_cores else []),
        (f"Whole host, of {h.cores}", cores(h.host_busy_cores)),
        ("Triton's memory", size(h.server_memory_bytes)),
    ]


def parts(point: PointResult) -> list[Part]:
    """Where the time of a mean request went."""
    split = point.time_s
    seconds: dict[str, float | None] = {
        n: getattr(split, f) if split else None for n, f in TIME_PARTS.items()
    }
    known = [s for s in seconds.values() if s is not None]
    whole = sum(known) if len(known) == len(seconds) else 0.0

    def part(name: str, s: float | None) -> Part:
        if s is None or not whole:
            return Part(name, None if s is None else f"{ms(s)} ms", 0.0)
        return Part(name, f"{ms(s)} ms, {number(s / whole * 100, 2)}%", s / whole)

    return [part(name, s) for name, s in seconds.items()]


def _in_triton(server: ServerFigures) -> tuple[str, str, str]:
    """Mean batch, queue and compute."""

    def milliseconds(*seconds: float | None) -> str:
        known = [each for each in seconds if each is not None]
        return ms(sum(known)) if len(known) == len(seconds) else ""

    return (
        "" if server.mean_batch is None else number(server.mean_batch),
        milliseconds(server.queue_s),
        milliseconds(server.compute_input_s, server.compute_infer_s, server.compute_output_s),
    )


def composing(point: PointResult) -> list[tuple[str, list[str]]]:
    """Each model that worked for the measured one: requests, mean batch, queue, compute, instances, busy."""
    return [
        (
            each.model,
            [
                f"{each.server.requests:,}",
                *_in_triton(each.server),
                "" if each.instances is None else str(each.instances),
                "" if each.busy is None else percent(each.busy),
            ],
        )
        for each in point.composing
    ]


def replicas(point: PointResult) -> list[tuple[str, list[str]]]:
    """Each server that the load was spread over: requests, errors, p50, p99, mean batch, queue, compute."""
    return [
        (
            each.address,
            [
                f"{each.requests:,}",
                f"{each.errors:,}",
                *(figure_cell(each.latency_s, name).text for name in ("p50", "p99")),
                *(_in_triton(each.server) if each.server else ("", "", "")),
            ],
        )
        for each in point.replicas
    ]


def processes(point: PointResult) -> list[list[str]]:
    """A row for each load process: worker, host, process, requests, CPU, clock, what became of it."""
    return [
        [
            str(p.worker),
            p.host or "this host",
            "" if p.pid is None else str(p.pid),
            f"{p.requests:,}",
            _used(p, point.duration_s),
            _clock(p),
            p.lost or "came to its end",
        ]
        for p in point.load_processes
    ]


def _used(process: LoadProcess, duration_s: float | None) -> str:
    if process.cpu_s is None or not duration_s:
        return ""
    return f"{percent(process.cpu_s / duration_s)} of a core"


def _clock(process: LoadProcess) -> str:
    if process.clock_offset_s is None:
        return "this machine's"
    error = f" ± {number(process.clock_error_s * 1e3)}" if process.clock_error_s is not None else ""
    way = "behind" if process.clock_offset_s < 0 else "ahead"
    return f"{number(abs(process.clock_offset_s) * 1e3)}{error} ms {way}, put right"
