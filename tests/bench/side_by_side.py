"""One drive of ours and one run of perf_analyzer on the same server with the same request, taking turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.calibration.counted import Counter
from harness.calibration.perf_analyzer import Finished, PerfAnalyzer
from harness.load.spools import read_spool
from harness.measurement.session import Session
from harness.measurement.workload import Workload
from harness.schema.load import PointLoad
from harness.schema.point import Point, PointClass, ServerSettings
from harness.schema.samples import Phase, Status
from harness.schema.scenario import Measure, Objective, Protocol, SharedMemory
from harness.triton.embedded import EmbeddedServer
from harness.triton.install import provision

LIMIT_S = 60.0
"""perf_analyzer may hang over HTTP at concurrency 32; it is killed then, and tried once more."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one client used and got."""

    cpu_s: float
    """Per request."""
    throughput_per_s: float


@dataclass(frozen=True, slots=True)
class Question:
    """A request that both send: one tensor X, for one tensor Y."""

    model: str
    values: np.ndarray
    protocol: Protocol
    concurrency: int
    shared_memory: SharedMemory = "none"


def ours(triton: EmbeddedServer, question: Question, folder: Path, seconds: float) -> Cost:
    """A drive's measured phase: Locust, its event and the record included."""
    request_class = PointClass(
        name="one", weight=1.0, batch=1, axes={}, payload=None, folder=None, low=None, high=None
    )
    point = Point(
        id="bench",
        params={},
        model=question.model,
        protocol=question.protocol,
        server=ServerSettings(
            max_batch=64, queue_delay_us=0, instances=1, threads=1, kind="cpu", response_cache=True
        ),
        requests=(request_class,),
        load=PointLoad(concurrency=question.concurrency),
        measure=Measure(warmup_s=0.5, duration_s=seconds),
        objective=Objective(),
        seed=1,
        shared_memory=question.shared_memory,
    )
    sent = Workload(question.model, {"one": [{"X": question.values[None]}]}, ["Y"])
    with Session(triton) as session:
        recorded = session.send(point, sent, folder, base_dir=folder)
    requests, _ = read_spool(recorded.folder)
    measured = requests[requests["phase"] == Phase.MEASURE]
    assert recorded.observed.ended is None and (measured["status"] == Status.OK).all(), recorded.observed
    assert recorded.client_cpu_s is not None and recorded.window is not None
    window_s = (recorded.window.end_ns - recorded.window.start_ns) / 1e9
    return Cost(recorded.client_cpu_s / len(measured), len(measured) / window_s)


def theirs(
    triton: EmbeddedServer, question: Question, folder: Path, requests: int, options: Sequence[str] = ()
) -> Cost | None:
    """One perf_analyzer process, its start taken off; None where it twice did not return.

    Triton's count is the count of requests: perf_analyzer doesn't report those of its warm-up.
    """
    (cudart,) = provision().libs.glob("libcudart-*.so.12*")
    analyzer = PerfAnalyzer(cudart, folder)
    port = triton.http_port if question.protocol == "http" else triton.grpc_port

    def run(count: int, meanwhile: Callable[[], None]) -> Finished:
        return analyzer.run(
            question.model,
            question.protocol,
            f"127.0.0.1:{port}",
            concurrency=question.concurrency,
            data=[{"X": question.values.tolist()}],
            # A count rather than a time window, after which it can go on for minutes over HTTP (seen).
            options=["--request-count", str(count), *options],
            limit_s=LIMIT_S,
            meanwhile=meanwhile,
        )

    for _ in range(2):
        start = run(question.concurrency, lambda: None)
        counter = Counter(triton, question.model)
        whole = run(requests, counter.look)
        answered = counter.answered()
        per_s = counter.per_s(answered)
        if start.figures is not None and per_s is not None and not whole.timed_out:
            return Cost((whole.cpu_s - start.cpu_s) / answered, per_s)
        assert start.timed_out or whole.timed_out, whole.why
    return None


@dataclass(slots=True)
class Rounds:
    """What both gave, round by round."""

    ours: list[Cost]
    theirs: list[Cost]

    @property
    def cpu_ratio(self) -> float:
        return _median(self.ours, "cpu_s") / _median(self.theirs, "cpu_s")

    @property
    def throughput_per_s(self) -> float:
        """Ours."""
        return _median(self.ours, "throughput_per_s")

    @property
    def throughput_ratio(self) -> float:
        return _median(self.ours, "throughput_per_s") / _median(self.theirs, "throughput_per_s")

    def said(self) -> str:
        lines = []
        for name, costs in (("ours", self.ours), ("perf_analyzer", self.theirs)):
            if not costs:
                lines.append(f"  {name:14} not measured: it did not return")
                continue
            cpu_us = [cost.cpu_s * 1e6 for cost in costs]
            lines.append(
                f"  {name:14} {statistics.median(cpu_us):9.1f} us ({min(cpu_us):.0f} to {max(cpu_us):.0f}), "
                f"{_median(costs, 'throughput_per_s'):8.1f} requests/s"
            )
        if self.theirs:
            lines.append(f"  ratio          CPU {self.cpu_ratio:.2f}, throughput {self.throughput_ratio:.2f}")
        return "\n".join(lines)


def _median(costs: Sequence[Cost], name: str) -> float:
    return float(statistics.median(getattr(cost, name) for cost in costs))
