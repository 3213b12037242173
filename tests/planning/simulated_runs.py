"""Finished runs of a server whose service times are known: their samples come from the simulation.

What a plan says by them can be held against the truth, whatever else this machine does.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.commands import report
from harness.planning.demand import Demand
from harness.schema.expansion import expand
from harness.schema.point import Point
from harness.schema.result import BatchFigures, Environment
from harness.schema.samples import REQUEST, HostReading, Phase, Window
from harness.simulation.batcher import Batcher, Station
from harness.store import samples_file
from harness.store.run_folder import RunFolder, create_run
from harness.store.scenario_file import load_scenario
from tests.analysis.samples import observed, server
from tests.report.factory import artifact, environment

START_NS = 5_000_000_000
OVERHEAD_S = 0.0004

SCENARIO = """\
model: minilm
server: {max_batch: 8}
requests:
  - {name: text, tokens: 16}
load: {rate_per_s: [100, 250, 400, 500, 600, 650], arrivals: poisson}
measure: {duration_s: 20}
objective: {p99_ms: 30}
plan: {rate_per_s: 5000}
"""
"""It is served at most some 780 times a second, with the service times below."""

CLOSED = SCENARIO.replace(
    "rate_per_s: [100, 250, 400, 500, 600, 650], arrivals: poisson", "concurrency: [1, 32]"
)


@dataclass
class Truth:
    """A batch of kind k takes `fixed_s[k]` + `each_s[k]` × its inferences on average, with gamma noise."""

    fixed_s: tuple[float, ...] = (0.003,)
    each_s: tuple[float, ...] = (0.0009,)
    cv: float = 0.15
    moment: float = 0.02
    """By how much all service times differ from one point to another."""
    seed: int = 1
    batches: list[tuple[int, float]] = field(default_factory=list)

    def begin(self, number: int) -> None:
        """Another point, at another moment."""
        self.random = np.random.default_rng([self.seed, number])
        self.now = math.exp(self.moment * float(self.random.standard_normal()))
        self.batches = []

    def service(self, kind: int, inferences: int) -> float:
        mean = self.now * (self.fixed_s[kind] + self.each_s[kind] * inferences)
        self.batches.append((inferences, mean * float(self.random.gamma(self.cv**-2, self.cv**2))))
        return self.batches[-1][1]


def simulated_run(
    results: Path, text: str = SCENARIO, truth: Truth | None = None, *, where: Environment | None = None
) -> RunFolder:
    """A folder with every point of the scenario finished."""
    truth = truth or Truth()
    file = results.parent / "small.yaml"
    file.write_text(text)
    folder = create_run(results, load_scenario(file))
    folder.write_models([artifact()])
    folder.write_environment(where or environment(gpu=False))
    for number, point in enumerate(expand(folder.read_scenario().scenario)):
        truth.begin(number)
        finish(folder, point, truth)
    folder.write_result(report.collect(folder, {}))
    return folder


def finish(folder: RunFolder, point: Point, truth: Truth) -> None:
    """Begin a point, and finish it by simulation."""
    settings = point.server
    sizes = [each.batch for each in point.requests]
    batcher = Batcher(
        settings.max_batch or 1, (settings.queue_delay_us or 0) / 1e6, settings.instances or 1, (), sizes
    )
    station = Station(batcher, truth.service)
    demand = Demand([each.weight for each in point.requests], sizes, _gap_cv(point))
    seconds, seed = point.measure.duration_s, point.seed + 10
    if point.load.shape.users is None:
        rate = point.load.shape.nominal_rate_per_s or 1.0
        count = max(10, round(rate * seconds))
        station.take(demand.arrivals(rate, count, seed), demand.kinds(count, seed))
        station.advance(math.inf)
    else:
        _closed_loop(station, point.load.shape.users, seconds, demand.kinds(1_000_000, seed))
    records = _records(station, demand.kinds(1_000_000, seed))
    place = folder.begin_point(point)
    window = Window(START_NS, START_NS + int(seconds * 1e9))
    names = [each.name for each in point.requests]
    samples_file.write_requests(place / "requests.parquet", [records], names, [], window)
    readings = range(window.start_ns - 10**9, window.end_ns + 10**9, 200_000_000)
    host = [HostReading(at, at / 4e9, at / 9e9, at / 2e9, 2**28, 2**26) for at in readings]
    samples_file.write_host(place / "host.parquet", host)
    samples_file.write_gpu(place / "gpu.parquet", [])
    folder.finish_point(point, _facts(records, truth, window))


def _gap_cv(point: Point) -> float:
    return {"constant": 0.0, "gamma": point.load.cv or 1.0}.get(point.load.arrivals or "constant", 1.0)


def _closed_loop(station: Station, users: int, seconds: float, kinds: np.ndarray) -> None:
    """Each user asks again as soon as its answer has come back."""
    back_s, now = deque([0.0] * users), 0.0
    while now < seconds:
        upcoming = station.advance(now)
        if back_s and back_s[0] <= upcoming:
            now = back_s.popleft()
            station.advance(now)
            station.arrive(now, int(kinds[len(station.due)]))
            continue
        now, before = upcoming, station.finished
        station.advance(now)
        back_s.extend([now + OVERHEAD_S] * (station.finished - before))
    station.advance(math.inf)


def _records(station: Station, kinds: np.ndarray) -> np.ndarray:
    records = np.zeros(len(station.done), REQUEST)
    records["request_class"] = kinds[: len(records)]
    records["phase"] = Phase.MEASURE
    records["intended_ns"] = START_NS + (np.array(station.due) * 1e9).astype(np.int64)
    records["sent_ns"] = records["intended_ns"] + 1000
    took_ns = ((np.array(station.done) - np.array(station.due) + OVERHEAD_S) * 1e9).astype(np.int64)
    records["completed_ns"] = records["intended_ns"] + took_ns
    records["first_byte_ns"] = records["completed_ns"] - 500
    records["sent_bytes"] = records["received_bytes"] = 300
    return records


def _facts(records: np.ndarray, truth: Truth, window: Window):  # type: ignore[no-untyped-def]
    count, spent = Counter[int](), Counter[int]()
    for inferences, seconds in truth.batches:
        count[inferences] += 1
        spent[inferences] += seconds
    executions, inferences_ = sum(count.values()), sum(n * c for n, c in count.items())
    of_requests = sum(n * s for n, s in truth.batches) / inferences_
    by_batch = tuple(
        BatchFigures(batch=n, executions=count[n], mean_s=spent[n] / count[n]) for n in sorted(count)
    )
    total_s = float((records["completed_ns"] - records["sent_ns"]).mean()) / 1e9 - OVERHEAD_S
    figures = server(
        len(records),
        inferences=inferences_,
        executions=executions,
        mean_batch=inferences_ / executions,
        request_s=total_s,
        queue_s=total_s - of_requests,
        compute_input_s=0.0,
        compute_infer_s=of_requests,
        compute_output_s=0.0,
        by_batch=by_batch,
    )
    return observed(len(records)).model_copy(
        update={"window_ns": (window.start_ns, window.end_ns), "server": figures}
    )
