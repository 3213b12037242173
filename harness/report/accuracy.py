"""docs/accuracy.md: what `harness calibrate` found, every table with what passed and what didn't."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from harness.report.markdown import Markdown, code, plain
from harness.report.template import markdown_page
from harness.schema.calibration import (
    PARTS,
    Calibration,
    Client,
    Comparison,
    Coverage,
    FigureCheck,
    Noise,
    PartRun,
    TruthCase,
)
from harness.schema.percentiles import figure_title
from harness.schema.result import Interval
from harness.schema.scenario import Validity

_PASSED = {True: Markdown("pass"), False: Markdown("**fail**"), None: Markdown("no answer")}
_PACKAGES = ("numpy", "locust", "gevent", "tritonclient", "grpcio")

Row = tuple[str, ...]


def accuracy_page(found: Calibration) -> str:
    """The page as Markdown; the same record always gives the same page."""
    filters = (_measured, _figures, _checks, _comparisons, _points)
    return markdown_page(
        "accuracy.md.j2",
        {each.__name__.lstrip("_"): each for each in filters},
        found=found,
        verdict=_verdict(found),
        machine=list(_machine(found)),
        when={part: _when(found.measured[part]) for part in PARTS if part in found.measured},
        most_stolen=f"{Validity().stolen_cpu:.0%}",
        absent=[part for part in PARTS if part not in found.measured],
    )


def _verdict(found: Calibration) -> str:
    failed = len(found.failures)
    said = f"{failed} check{'s' * (failed != 1)} failed." if failed else "Every check passed."
    missed = sum(len(case.missed) for case in found.truth or ())
    if missed:
        said += f" {missed} figure{'s' * (missed != 1)} missed the theory at first: measured once more."
    figures = [f.passed for case in found.truth or () for f in (*case.theory, *case.path)]
    coverages = [check.passed for check in (found.coverage.checks if found.coverage else ())]
    silent = (figures + coverages).count(None)
    return said + (f" {silent} figure{'s have' if silent > 1 else ' has'} no answer." if silent else "")


def _machine(found: Calibration) -> Iterator[Row]:
    where = found.environment
    runs = [runs[-1] for runs in found.measured.values()]
    yield "command", Markdown(", ".join(dict.fromkeys(code(run.command) for run in runs)))
    yield "measured", f"{min(run.started_at for run in runs)} to {max(run.finished_at for run in runs)}"
    yield "machine", f"{where.cpu}, {where.cores} cores, {where.memory_bytes / 2**30:.0f} GiB"
    yield "system", f"{where.os}, kernel {where.kernel}"
    yield "GPU", ", ".join(gpu.name for gpu in where.gpus) or "none"
    yield "harness", f"{where.harness_version} ({where.git_commit or 'no commit known'})"
    yield "Triton", f"{where.triton_version}, {where.server_mode}, {where.backend}"
    yield "Python", where.python
    known = [f"{name} {where.packages[name]}" for name in _PACKAGES if name in where.packages]
    yield "packages", ", ".join(known)


def _when(runs: Sequence[PartRun]) -> str:
    """When a part was measured, and what the times before gave, in sentences."""
    *before, last = runs
    said = f"Measured {last.started_at} to {last.finished_at}."
    for run in before:
        gave = "; ".join(run.failures) or "every check passed"
        said += f" Measured before, {run.started_at} to {run.finished_at}: {gave}."
    return said


def _measured(case: TruthCase) -> str:
    """How a case was measured, in a sentence."""
    said = f"{case.description}. {case.requests} requests"
    if case.duration_s is not None:
        said += f" in {case.duration_s:.0f} s"
    said += f"; wire {case.wire_s * 1e3:.2f} ms; harness says {case.verdict}"
    if case.attempts > 1:
        said += f" at attempt {case.attempts}"
    return said + (f" ({'; '.join(case.reasons)})" if case.reasons else "") + "."


def _figures(case: TruthCase) -> Iterator[Row]:
    for kind, figures in (
        ("theory, before", case.missed),
        ("theory", case.theory),
        ("path", case.path),
    ):
        for figure in figures:
            yield _figure(kind, figure)


def _figure(kind: str, figure: FigureCheck) -> Row:
    is_rate = figure.name == "throughput"
    show = _rate if is_rate else _ms
    bare = None
    if figure.measured is not None and not is_rate:
        bare = figure.measured / figure.truth_without_wire - 1
    return (
        kind,
        figure_title(figure.name),
        show(figure.measured) if figure.why is None else f"null: {figure.why}",
        _interval(figure.interval_95, show),
        show(figure.truth),
        _percent(figure.error),
        _PASSED[figure.passed],
        _percent(bare),
    )


def _checks(found: Coverage) -> Iterator[Row]:
    for check in found.checks:
        yield (
            check.protocol,
            figure_title(check.figure),
            (_rate if check.figure == "throughput" else _ms)(check.truth),
            str(check.runs),
            str(check.supported),
            str(check.covered),
            str(check.needed),
            Markdown(_PASSED[check.passed] + ("" if check.why is None else f": {plain(check.why)}")),
        )


def _comparisons(found: Sequence[Comparison]) -> Iterator[Row]:
    for each in found:
        yield (
            each.protocol,
            str(each.concurrency),
            str(each.rounds),
            _ratio(each.cpu_ratio),
            _ratio(each.throughput_ratio),
            _ratio(each.p50_ratio),
            _ratio(each.p99_ratio),
            _client(each.harness),
            _client(each.perf_analyzer),
        )


def _client(client: Client | None) -> str:
    if client is None:
        return "null"
    return (
        f"{client.cpu_us_per_request:.0f} µs CPU, {client.throughput_per_s:.0f}/s, "
        f"p50 {client.p50_us:.0f}, p99 {client.p99_us:.0f} µs"
    )


def _points(found: Noise) -> Iterator[Row]:
    for number, point in enumerate(found.points, 1):
        yield (
            str(number),
            point.model,
            point.perf_analyzer,
            Markdown("**lost**") if point.lost else point.verdict,
            _with_interval(point.throughput_per_s, point.throughput_interval_95, _rate),
            _with_interval(point.p50_s, point.p50_interval_95, _ms),
            _with_interval(point.p99_s, point.p99_interval_95, _ms),
            "; ".join(point.reasons),
        )


def _ms(seconds: float | None) -> str:
    return "null" if seconds is None else f"{seconds * 1e3:.2f} ms"


def _rate(per_s: float | None) -> str:
    return "null" if per_s is None else f"{per_s:.2f}/s"


def _ratio(value: float | None) -> str:
    return "null" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.1%}"


def _interval(interval: Interval | None, show: Callable[[float | None], str]) -> str:
    return "" if interval is None else f"{show(interval[0])} to {show(interval[1])}"


def _with_interval(
    value: float | None, interval: Interval | None, show: Callable[[float | None], str]
) -> str:
    shown = _interval(interval, show)
    return f"{show(value)} ({shown})" if shown else show(value)
