"""harness beside perf_analyzer on models of others: strings, sequences, an ensemble, JSON with answers.

    python -m tests.evidence.served_models                                      # measures, a few minutes
    python -m tests.evidence.served_models --write docs/from-perf-analyzer.md   # and writes the table

Both read the same file of data and ask the same server, in turns of some seconds, so that a busy machine is
busy for both. Requests a second of perf_analyzer are counted by Triton while it sends (see
harness.calibration.counted), and its CPU is that of its process less that of a run of next to no requests;
harness's are those of its result and its load process. Medians are of the time from send to answer, of all
samples.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import harness
from harness.calibration.counted import Counter
from harness.calibration.perf_analyzer import Finished, PerfAnalyzer
from harness.schema.scenario import Protocol
from harness.triton.install import provision
from harness.triton.their_repository import TheirRepository
from tests.triton import their_models
from tests.triton.open_server import OpenServer
from tests.written import show_and_write

BEGIN, END = "<!-- side by side -->", "<!-- end of side by side -->"
LIMIT_S = 60.0
LENIENT = "{foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, send_lag_ms: 10000, idle_users: 1, drift: 1000}"


@dataclass(frozen=True)
class Case:
    """A model, and what both send it."""

    words: str
    model: str
    data: Mapping[str, Any]
    concurrency: int
    request: str = ""
    """More of the request class in harness's scenario."""


def _twice(*rows: list[float]) -> Mapping[str, Any]:
    """What a model that doubles is given, and what it must answer."""
    doubled = [[2 * value for value in row] for row in rows]
    return {"data": [{"x": row} for row in rows], "validation_data": [{"y": row} for row in doubled]}


TEXTS = ("How many GPUs does it take?", "A model of strings", "x" * 120)
STEPS = ([1.0, 2.0, 3.0], [10.0, 20.0, 30.0])
CASES = (
    Case("strings", "strings", {"data": [{"text": [text]} for text in TEXTS]}, 2),
    # It checks its own flags and order, and fails on a mistake.
    Case(
        "a sequence", "direct", {"data": [[{"x": [x]} for x in each] for each in STEPS]}, 3, ", sequence: {}"
    ),
    Case(
        "an ensemble of three", "in_a_row", {"data": [{"x": [1.0, 2.0, 3.0, float(n)]} for n in range(5)]}, 4
    ),
    Case("JSON with answers", "twice", _twice([1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 0.0, 8.0]), 2),
)


@dataclass(frozen=True)
class Client:
    requests_per_s: float
    p50_s: float
    cpu_s: float
    """Of the client, a request."""


@dataclass(frozen=True)
class Row:
    case: Case
    protocol: Protocol
    ours: Sequence[Client]
    theirs: Sequence[Client]
    troubles: Sequence[str]

    def ratio(self, name: str) -> tuple[float, float, float]:
        """The median of the rounds' ratios, the least and the largest."""
        pairs = zip(self.ours, self.theirs, strict=True)
        ratios = [getattr(mine, name) / getattr(other, name) for mine, other in pairs]
        return statistics.median(ratios), min(ratios), max(ratios)


def measure(folder: Path, rounds: int, seconds: float, say: Callable[[str], None] = print) -> list[Row]:
    """Each case over both wires, so many rounds of so many seconds of each client."""
    repository = their_models.write(folder / "models", takes_s=0)
    theirs = TheirRepository.at(repository)
    (cudart,) = provision().libs.glob("libcudart-*.so.12*")
    analyzer = PerfAnalyzer(cudart, folder / "perf_analyzer")
    with OpenServer(folder / "none", folder / "triton.log", theirs=theirs) as server:
        server.start(theirs.entry("twice", None))
        rows = []
        for case in CASES:
            data = folder / f"{case.model}.json"
            data.write_text(json.dumps(case.data))
            for protocol in get_args(Protocol):
                row = _measured(case, protocol, data, server, analyzer, rounds, seconds)
                rows.append(row)
                say(_cells(row))
    return rows


def _measured(
    case: Case,
    protocol: Protocol,
    data: Path,
    server: OpenServer,
    analyzer: PerfAnalyzer,
    rounds: int,
    seconds: float,
) -> Row:
    pairs: list[tuple[Client, Client]] = []
    troubles: list[str] = []
    for _ in range(rounds):
        ours = _ours(case, protocol, data, server, seconds)
        theirs = _theirs(case, protocol, data, server, analyzer, int(ours.requests_per_s * seconds))
        if isinstance(theirs, Client):
            pairs.append((ours, theirs))
        else:
            troubles.append(theirs)
    return Row(case, protocol, [ours for ours, _ in pairs], [theirs for _, theirs in pairs], troubles)


def _ours(case: Case, protocol: Protocol, data: Path, server: OpenServer, seconds: float) -> Client:
    file = data.with_suffix(".yaml")
    file.write_text(
        f"model: {{served: {case.model}}}\nprotocol: {protocol}\n"
        f"requests:\n  - {{name: mine, data: {data.name}{case.request}}}\n"
        f"load: {{concurrency: {case.concurrency}}}\n"
        f"measure: {{warmup_s: 0.5, duration_s: {seconds}}}\nvalidity: {LENIENT}\n"
    )
    url, grpc = f"http://{server.address}", server.grpc_port
    run = harness.run(file, results=data.parent / "results", url=url, grpc_port=grpc, quiet=True)
    (point,) = run.points
    check, (process,) = point.answer_check, point.load_processes
    assert point.errors == 0 and point.throughput_requests_per_s and process.cpu_s, point.reasons
    assert "validation_data" not in case.data or (check and check.validated and not check.wrong), check
    samples = harness.samples(run, point)
    return Client(
        point.throughput_requests_per_s,
        float((samples["completed_s"] - samples["sent_s"]).median()),
        process.cpu_s / process.requests,
    )


def _theirs(
    case: Case, protocol: Protocol, data: Path, server: OpenServer, analyzer: PerfAnalyzer, requests: int
) -> Client | str:
    port = server.http_port if protocol == "http" else server.grpc_port

    def run(count: int, meanwhile: Callable[[], None]) -> Finished:
        return analyzer.asks(
            case.model,
            protocol,
            f"{server.host}:{port}",
            concurrency=case.concurrency,
            options=["--input-data", str(data), "--request-count", str(count)],
            limit_s=LIMIT_S,
            meanwhile=meanwhile,
        )

    start = run(case.concurrency, lambda: None)
    counter = Counter(server, case.model)
    finished = run(requests, counter.look)
    answered = counter.answered()
    per_s = counter.per_s(answered)
    if start.timed_out or finished.figures is None or per_s is None:
        return start.why if start.timed_out else finished.why
    return Client(per_s, finished.figures.p50_s, (finished.cpu_s - start.cpu_s) / answered)


def table(rows: Sequence[Row]) -> Iterator[str]:
    yield "| model | wire | users | harness | perf_analyzer | requests/s | p50 | client CPU |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        yield _cells(row)


def _cells(row: Row) -> str:
    head = f"| {row.case.words} | {row.protocol} | {row.case.concurrency} "
    if not row.ours:
        return f"{head}| | not measured: {row.troubles[-1]} | | | |"

    def client(each: Sequence[Client]) -> str:
        per_s = statistics.median(one.requests_per_s for one in each)
        p50_ms = statistics.median(one.p50_s for one in each) * 1e3
        cpu_us = statistics.median(one.cpu_s for one in each) * 1e6
        return f"{per_s:,.0f}/s, {p50_ms:.2f} ms, {cpu_us:.0f} µs"

    ratios = (row.ratio(name) for name in ("requests_per_s", "p50_s", "cpu_s"))
    spans = " | ".join(f"{middle:.2f} ({low:.2f} to {high:.2f})" for middle, low, high in ratios)
    return f"{head}| {client(row.ours)} | {client(row.theirs)} | {spans} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--write", type=Path, help="the page to write the table into")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="harness-served-") as folder:
        rows = measure(Path(folder), asked.rounds, asked.seconds)
    made = "\n".join((f"{asked.rounds} rounds of {asked.seconds:g} s of each.\n", *table(rows))) + "\n\n"
    show_and_write(made, asked.write, BEGIN, END)


if __name__ == "__main__":
    main()
