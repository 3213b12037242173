"""The points as perf_analyzer's `-f` would have written them, for tools that read its CSV.

Columns and units (microseconds) are those of Triton's perf_analyzer, docs/measurements_metrics.md and
`ReportWriter`, rows in the order of throughput as there. Readers look columns up by name, so what
tells the rows of one run apart (`Point`, `Verdict`) stands after them. Where GPUs were read, the columns of
`--verbose-csv` with `--collect-metrics` are there too: each GPU by its UUID ("GPU-…:0.97;GPU-…:0.95;"),
utilization 0 to 1, watts, bytes. Three things differ, on purpose:

- `Client Send` and `Client Recv` are empty. They are the client library's own stages, which harness doesn't
  have; their time is inside `Network+Server Send/Recv`, so the parts still add up to the mean latency. So are
  `request/response` (their sum) and `response wait` (the rest).
- Latency counts from the actual send, as perf_analyzer's does, not from the intended one.
- Invalid points are left out: the format can't say that a figure may not be used.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from harness.analysis.gpu import may_use
from harness.plain_text import shown
from harness.report.gpus import used_any
from harness.schema.percentiles import PERCENTILES
from harness.schema.result import Environment, PointResult, RunResult

CLOSED = "perf_analyzer-concurrency.csv"
OPEN = "perf_analyzer-request-rate.csv"

WHOLE = tuple(name for name in PERCENTILES if len(name) == len("p99"))
"""perf_analyzer has percentiles of whole hundredths only."""

COLUMNS = (
    "Inferences/Second",
    "Client Send",
    "Network+Server Send/Recv",
    "Server Queue",
    "Server Compute Input",
    "Server Compute Infer",
    "Server Compute Output",
    "Client Recv",
    *(f"{name} latency" for name in WHOLE),
)
VERBOSE = ("Avg latency", "request/response", "response wait")
GPU = ("Avg GPU Utilization", "Avg GPU Power Usage", "Max GPU Memory Usage", "Total GPU Memory")
OWN = ("Point", "Verdict")


def csv_files(run: RunResult) -> dict[str, str]:
    """Text by file name: one file for the closed loops (`Concurrency`) and one for constant or Poisson rates
    (`Request Rate`), because a file of perf_analyzer's has one of the two. Only files with a row are there;
    what has no single rate, as a ramp, has no row.
    """
    usable = [p for p in run.points if p.verdict != "invalid" and p.throughput_inferences_per_s is not None]
    usable.sort(key=lambda p: p.throughput_inferences_per_s or 0.0)
    closed = [(users, p) for p in usable if (users := p.point.load.shape.users) is not None]
    rates = [(rate, p) for p in usable if (rate := p.point.load.shape.nominal_rate_per_s) is not None]
    files = {}
    if closed:
        files[CLOSED] = _csv("Concurrency", closed, run.environment)
    if rates:
        files[OPEN] = _csv("Request Rate", rates, run.environment)
    return files


def _csv(load: str, points: Sequence[tuple[float, PointResult]], environment: Environment | None) -> str:
    with_gpus = any(used_any(point) for _, point in points)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([load, *COLUMNS, *((*VERBOSE, *GPU) if with_gpus else ()), *OWN])
    for value, point in points:
        gpus = [_us(point.service_s.mean), "", "", *_gpus(point, environment)] if with_gpus else []
        writer.writerow([f"{value:g}", *_row(point), *gpus, _name(point.id), point.verdict])
    return text.getvalue()


def _gpus(point: PointResult, environment: Environment | None) -> list[str]:
    """A GPU without a value has no entry, and a MIG device one of its own."""
    there = {(gpu.device, gpu.mig_instance): gpu for gpu in (environment.gpus if environment else ())}
    known = [(there.get((gpu.device, gpu.mig_instance)), gpu) for gpu in point.gpu or ()]
    provider = point.execution_provider
    mine = [(e, gpu) for e, gpu in known if e is not None and may_use(point.point, gpu.device, provider)]

    def joined(values: Iterable[tuple[str, float | None]]) -> str:
        return "".join(f"{_uuid(uuid)}:{value:.12g};" for uuid, value in values if value is not None)

    return [
        joined((e.uuid, gpu.utilization_mean) for e, gpu in mine),
        joined((e.uuid, gpu.power_w_mean) for e, gpu in mine),
        joined((e.uuid, gpu.memory_bytes_max) for e, gpu in mine),
        joined((e.uuid, e.memory_bytes) for e, _ in mine),
    ]


def _row(point: PointResult) -> list[str]:
    server, service = point.server, point.service_s
    inside = (
        (server.queue_s, server.compute_input_s, server.compute_infer_s, server.compute_output_s)
        if server
        else (None,) * 4
    )
    known = [v for v in inside if v is not None]
    network = service.mean - sum(known) if service.mean is not None and len(known) == 4 else None
    return [
        f"{point.throughput_inferences_per_s:.6g}",
        "",
        _us(network),
        *(_us(v) for v in inside),
        "",
        *(_us(v) for v in (getattr(service, name) for name in WHOLE)),
    ]


def _name(text: str) -> str:
    """A cell that a spreadsheet takes for text: one that begins as a formula does would be computed."""
    text = shown(text)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def _uuid(text: str) -> str:
    """Readers part a GPU's cell at its colons and semicolons."""
    return re.sub(r"[^\w./-]|^-", "_", text)


def _us(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e6:.0f}"
