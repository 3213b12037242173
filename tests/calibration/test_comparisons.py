"""The judgement of a calibration on made-up figures: what is right passes, and what is wrong doesn't."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from harness.analysis.latency import summarize
from harness.analysis.queueing import finishes
from harness.calibration import against, coverage, noise, truth
from harness.calibration.figures import SHARES, THROUGHPUT, compared
from harness.calibration.lanes import Lane
from harness.calibration.queues import NOTHING, Added, Queue, simulated, sojourns_s, theoretical
from harness.calibration.service import Service
from harness.calibration.station import LANES, PERIOD_S, STALL_S, Drive, Station
from harness.schema.calibration import (
    Client,
    Comparison,
    Coverage,
    CoverageCheck,
    Noise,
    NoisyPoint,
    TruthCase,
)
from harness.schema.expansion import expand
from harness.schema.load import PointLoad
from harness.schema.samples import REQUEST, Measured, Phase, Status, Window
from harness.schema.shapes.rate import Rate
from tests.report.factory import DEMO, point_result

WIRE_S = 0.0005
WIRE = Added.always(WIRE_S)
QUEUES = {queue.name: queue for queue in truth.QUEUES}


def sampled(queue: Queue, *, factor: float = 1.0, requests: int = 20_000, seed: int = 1) -> Drive:
    """What a faultless harness would measure of this queue; with a `factor`, one that is wrong by it."""
    rng = np.random.default_rng(seed)
    rate = queue.load.shape.nominal_rate_per_s or 0.0
    gaps = (
        rng.exponential(1 / rate, requests)
        if queue.load.arrivals == "poisson"
        else np.full(requests, 1 / rate)
    )
    due_s = 1000.0 + np.cumsum(gaps)
    kinds = rng.choice(len(queue.service.seconds), size=requests, p=_shares(queue.service))
    stall = (STALL_S, PERIOD_S) if queue.stalling else (0.0, 1.0)
    done_s = finishes(due_s + WIRE_S / 2, np.asarray(queue.service.seconds)[kinds], *stall) + WIRE_S / 2
    latency_s = (done_s - due_s) * factor
    records = np.zeros(requests, REQUEST)
    records["request_class"], records["status"], records["phase"] = kinds, Status.OK, Phase.MEASURE
    records["intended_ns"] = records["sent_ns"] = due_s * 1e9
    records["completed_ns"] = (due_s + latency_s) * 1e9
    figures: Any = {
        "verdict": "valid",
        "reasons": (),
        "steady_state": None,
        "requests": requests,
        "duration_s": float(due_s[-1] - due_s[0]),
        "throughput_requests_per_s": float(np.count_nonzero(done_s < due_s[-1]) / (due_s[-1] - due_s[0])),
        "throughput_interval_95": (rate * 0.99, rate * 1.01),
        "latency_s": summarize(latency_s),
    }
    plain = point_result(expand(DEMO)[0], verdict="valid", gpu=False)
    return Drive(plain.model_copy(update=figures), Measured.of(records), None, Window(0, 1))


NEVER = Window(7, 7)
"""Of a measurement that didn't begin."""


INVALID = {"verdict": "invalid", "reasons": ("the client lagged",)}
"""What one of harness's own gates says."""


def refused(name: str, window: Window = NEVER) -> Drive:
    drive = sampled(QUEUES[name])
    return replace(drive, result=drive.result.model_copy(update=INVALID), window=window)


def _shares(service: Service) -> np.ndarray[Any, Any]:
    weights = np.asarray(service.weights)
    return weights / weights.sum()


@pytest.mark.parametrize("name", QUEUES)
def test_a_faultless_measurement_passes_against_theory_and_path(name: str) -> None:
    case = truth.judged(QUEUES[name], "http", sampled(QUEUES[name]), WIRE, 1)
    assert bool(case.theory) == (QUEUES[name].theory is not None)
    assert [figure.name for figure in case.path] == ["p50", "p99", "p999", THROUGHPUT]
    assert case.path[0].measured is not None
    for figure in case.path:
        if figure.measured is not None:
            assert figure.error == pytest.approx(0, abs=1e-3)
    assert list(truth.failures([case])) == []


@pytest.mark.parametrize("name", QUEUES)
def test_a_measurement_that_is_wrong_by_a_third_fails(name: str) -> None:
    case = truth.judged(QUEUES[name], "grpc", sampled(QUEUES[name], factor=1.33), WIRE, 1)
    assert any("off the path's" in failure for failure in truth.failures([case]))


def test_a_wrong_truth_fails() -> None:
    queue = QUEUES["exponential service"]
    drive = sampled(queue)
    right = theoretical(queue, WIRE)
    assert all(check.passed is not False for check in compared(drive.result, right, right))
    wrong = {name: value * 1.5 for name, value in right.items()}
    assert not any(check.passed for check in compared(drive.result, wrong, wrong))


def test_a_truth_within_three_percent_or_within_the_interval_passes() -> None:
    drive = sampled(QUEUES["exponential service"])
    p50 = drive.result.latency_s.p50
    assert p50 is not None
    low, high = drive.result.latency_s.interval_95["p50"]
    for value, passes in (
        (p50 / 1.029, True),
        ((p50 + high) / 2, True),
        (high * 1.04, False),
        (low * 0.9, False),
    ):
        (check,) = compared(drive.result, {"p50": value}, {"p50": value})
        assert check.passed is passes, (value, p50, low, high)


def test_a_null_figure_is_no_pass_and_says_why() -> None:
    drive = sampled(QUEUES["constant service"], requests=200)
    case = truth.judged(QUEUES["constant service"], "http", drive, WIRE, 1)
    p999 = next(figure for figure in case.path if figure.name == "p999")
    assert p999.measured is None and p999.passed is None and p999.why


def test_a_case_without_a_median_or_a_valid_point_fails() -> None:
    queue = QUEUES["constant service"]
    drive = sampled(queue, requests=3)
    assert any(
        "no p50" in failure for failure in truth.failures([truth.judged(queue, "http", drive, WIRE, 1)])
    )
    judged = truth.judged(queue, "http", refused("constant service", Window(0, 1)), WIRE, 3)
    assert any("the client lagged" in failure for failure in truth.failures([judged]))


def unlucky(name: str) -> Drive:
    """A faultless measurement of arrivals that were fewer than they are in the long run."""
    queue = QUEUES[name]
    rate = queue.load.shape.nominal_rate_per_s or 0.0
    return sampled(replace(queue, load=queue.load.model_copy(update={"shape": Rate(rate_per_s=0.8 * rate)})))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[dict[str, TruthCase], list[str]]]:
    """The truth where these are a lane's first attempts, and faultless ones follow; and what was said."""

    class Wire:
        def during(self, window: Window) -> Added:
            assert window != NEVER, "of a measurement that never began nothing can be told"
            return WIRE

    @contextmanager
    def wires(_: object) -> Iterator[dict[str, Wire]]:
        yield {"http": Wire(), "grpc": Wire()}

    def of(**attempts: list[Drive]) -> tuple[dict[str, TruthCase], list[str]]:
        def in_lanes(lanes: Sequence[Lane], *_: object) -> list[Drive]:
            assert len(lanes) <= truth.AT_ONCE
            return [
                attempts[key].pop(0) if attempts.get(key) else faultless[lane.number]
                for lane in lanes
                for key in [f"{lane.protocol}_{lane.number}"]
            ]

        faultless = [sampled(queue) for queue in truth.QUEUES]
        monkeypatch.setattr(truth, "in_lanes", in_lanes)
        monkeypatch.setattr(truth, "wires", wires)
        said: list[str] = []
        station: Any = SimpleNamespace(stop=threading.Event())
        cases = truth.against_truth(station, 1, seed=0, say=said.append)
        assert [case.name for case in cases[::2]] == [case.name for case in cases[1::2]] == list(QUEUES)
        return {f"{case.protocol} {case.name}": case for case in cases}, said

    return of


EXPONENTIAL = "exponential service"


def test_what_misses_the_theory_by_chance_is_measured_once_more_and_its_miss_is_kept(measured: Any) -> None:
    cases, said = measured(http_1=[unlucky(EXPONENTIAL)])
    case = cases[f"http {EXPONENTIAL}"]
    assert list(truth.failures(cases.values())) == []
    assert case.attempts == 2 and "throughput" in [figure.name for figure in case.missed]
    assert all(figure.passed is False for figure in case.missed)
    (line,) = said
    assert line.startswith(f"{EXPONENTIAL} over http is measured again: ") and "off the theory's" in line
    assert all(not other.missed and other.attempts == 1 for other in cases.values() if other is not case)


def test_what_misses_the_theory_twice_fails(measured: Any) -> None:
    cases, said = measured(grpc_1=[unlucky(EXPONENTIAL), unlucky(EXPONENTIAL)])
    assert any("off the theory's" in failure for failure in truth.failures(cases.values()))
    assert cases[f"grpc {EXPONENTIAL}"].attempts == 2 and len(said) == 1


def test_what_misses_its_path_fails_at_once(measured: Any) -> None:
    wrong = sampled(QUEUES[EXPONENTIAL], factor=1.33)
    cases, said = measured(http_1=[wrong])
    assert any("off the path's" in failure for failure in truth.failures(cases.values()))
    assert cases[f"http {EXPONENTIAL}"].attempts == 1 and said == []


def test_a_refusal_is_no_miss(measured: Any) -> None:
    attempts = [refused(EXPONENTIAL), unlucky(EXPONENTIAL), refused(EXPONENTIAL)]
    cases, said = measured(http_1=attempts)
    assert list(truth.failures(cases.values())) == []
    assert cases[f"http {EXPONENTIAL}"].attempts == 4 and len(said) == 3
    assert cases[f"http {EXPONENTIAL}"].missed


def test_what_is_refused_each_time_fails(measured: Any) -> None:
    attempts = [refused(EXPONENTIAL), refused(EXPONENTIAL), refused(EXPONENTIAL, Window(0, 1))]
    cases, said = measured(http_1=attempts)
    (failure,) = truth.failures(cases.values())
    assert failure == f"{EXPONENTIAL} over http: not measured validly in 3 attempts: the client lagged"
    assert len(said) == 2


def test_the_path_knows_when_a_stall_catches_whom() -> None:
    """Requests each second, 0.1 s of service, half a second of stall in each fifth: 1 in 5 waits."""
    queue = Queue("q", Service.constant(0.1), PointLoad(rate_per_s=1.0), stalling=True, theory=None)
    records = np.zeros(100, REQUEST)
    records["phase"] = Phase.MEASURE
    records["intended_ns"] = records["sent_ns"] = np.arange(100) * 1_000_000_000
    figures = simulated(queue, Measured.of(records), 0, NOTHING)
    assert figures["p50"] == pytest.approx(0.1)
    assert figures["p99"] == pytest.approx(0.6)


def test_the_exponential_service_has_its_mean_and_its_tail() -> None:
    service = Service.exponential(0.01)
    assert service.mean_s == pytest.approx(0.01, rel=1e-9)
    assert np.var(service.seconds) == pytest.approx(0.01**2, rel=0.01)
    assert np.quantile(service.seconds, 0.99) == pytest.approx(-np.log(0.01) * 0.01, rel=0.02)


def test_coverage_counts_the_intervals_that_hold_the_truth() -> None:
    result = sampled(coverage.QUEUE).result

    def runs(holding: int, missing: int) -> list[Any]:
        def with_interval(low: float, high: float) -> Any:
            latency = result.latency_s.model_copy(update={"interval_95": {"p50": (low, high)}})
            return result.model_copy(update={"latency_s": latency})

        interval = with_interval(0.9, 1.1)
        return [(interval, 1.0)] * holding + [(interval, 1.2)] * missing

    assert coverage.counted("http", "p50", runs(93, 7), 100).passed is True
    assert coverage.counted("http", "p50", runs(92, 8), 100).passed is False
    few = coverage.counted("http", "p50", runs(50, 0), 100)
    assert few.passed is None and few.why is not None and "50 of 100" in few.why
    absent = coverage.counted("http", "mean", runs(100, 0), 100)
    assert absent.passed is None and absent.supported == 0


class Holding:
    """A station whose runs hold every truth, but that http's p50 doesn't in those that `misses` names."""

    def __init__(self, misses: Callable[[int], bool], refuses_from: int | None = None) -> None:
        self.stop = threading.Event()
        self.measured: list[tuple[str, int]] = []
        self._misses, self._refuses_from = misses, refuses_from
        self._drive = sampled(coverage.QUEUE, requests=500)

    def measure_service(self, _: Service, *, lane: Lane, seed: int, **__: Any) -> Drive:
        number = seed // len(LANES) + lane.number  # of the protocol's runs
        self.measured.append((lane.protocol, number))
        result, every = self._drive.result, (0.0, 1000.0)
        missed = lane.protocol == "http" and self._misses(number)
        latency = result.latency_s.model_copy(
            update={"interval_95": {"p50": (0.0, 0.0) if missed else every, "p99": every, "mean": every}}
        )
        figures: dict[str, Any] = {"latency_s": latency, "throughput_interval_95": every}
        if self._refuses_from is not None and number >= self._refuses_from:
            figures |= INVALID
        return replace(self._drive, result=result.model_copy(update=figures))

    def coverage(self) -> tuple[dict[tuple[str, str], CoverageCheck], list[tuple[int, int]]]:
        told: list[tuple[int, int]] = []
        found = coverage.coverage(cast(Station, self), 100, 120.0, seed=0, progress=lambda *n: told.append(n))
        assert [(check.protocol, check.figure) for check in found.checks] == [
            (protocol, name) for protocol in ("http", "grpc") for name in coverage.FIGURES
        ]
        return {(check.protocol, check.figure): check for check in found.checks}, told


def test_a_hundred_runs_are_enough_where_no_figure_falls_short() -> None:
    station = Holding(lambda number: number < 7)
    checks, told = station.coverage()
    p50 = checks["http", "p50"]
    assert (p50.runs, p50.covered, p50.needed, p50.passed) == (100, 93, 93, True)
    assert told[-1] == (100, 100) and len(station.measured) == 2 * 104


def test_a_figure_that_falls_short_is_judged_on_every_run_of_two_hundred() -> None:
    station = Holding(lambda number: number < 8)
    checks, told = station.coverage()
    p50 = checks["http", "p50"]
    assert (p50.runs, p50.covered, p50.needed, p50.passed) == (200, 192, 186, True)
    assert all(check.runs == 100 for key, check in checks.items() if key != ("http", "p50"))
    assert told[-1] == (200, 200)
    assert {number for protocol, number in station.measured if protocol == "grpc"} == set(range(104))
    assert len(set(station.measured)) == len(station.measured), "no schedule is measured twice"


def test_a_figure_that_goes_on_to_fall_short_fails_at_three_hundred() -> None:
    # Good as the third hundred is, it doesn't make up for the 22 misses of the two before.
    checks, _ = Holding(lambda number: number < 22).coverage()
    p50 = checks["http", "p50"]
    assert (p50.runs, p50.covered, p50.needed, p50.passed) == (300, 278, 279, False)


def test_a_figure_that_fell_short_stays_so_where_its_further_runs_are_refused() -> None:
    checks, _ = Holding(lambda number: number < 8, refuses_from=104).coverage()
    p50 = checks["http", "p50"]
    assert (p50.runs, p50.covered, p50.passed) == (100, 92, False)


def test_what_is_added_to_every_request_is_found_whatever_the_queue_did() -> None:
    added = coverage.beyond_the_path(coverage.QUEUE, sampled(coverage.QUEUE))
    assert np.median(added.seconds) == pytest.approx(WIRE_S, rel=1e-3)
    late = coverage.truths(Added(added.at_ns, added.seconds + 0.001))
    for name, truth_s in coverage.truths(added).items():
        assert late[name] - truth_s == pytest.approx(0 if name == THROUGHPUT else 0.001, abs=1e-6)


@pytest.mark.parametrize("name", ["constant service", "exponential service"])
def test_a_wire_that_varies_moves_a_percentile_as_a_sum_of_two_times(name: str) -> None:
    queue, rng = QUEUES[name], np.random.default_rng(3)
    wire = Added(np.arange(2000), rng.gamma(2.0, 0.0005, 2000))
    alone = sampled(queue, requests=200_000).measured
    took_s = (alone.completed_ns - alone.intended_ns) / 1e9 - WIRE_S + rng.choice(wire.seconds, alone.size)
    found = theoretical(queue, wire)
    # As sharply as 200,000 correlated requests tell.
    for figure, within in (("p50", 0.01), ("p99", 0.04), ("p999", 0.1)):
        assert found[figure] == pytest.approx(np.quantile(took_s, SHARES[figure]), rel=within)
    # For half of the requests of a constant service to be in, more than half of the wire's must be.
    if name == "constant service":
        assert found["p50"] > queue.service.mean_s + 1.2 * float(np.median(wire.seconds))


def test_a_request_has_the_wire_of_the_plain_clients_request_nearest_in_time() -> None:
    wire = Added(np.array([10, 20, 40]), np.array([0.1, 0.2, 0.4]))
    assert wire.nearest(np.array([0, 14, 16, 29, 31, 99])).tolist() == [0.1, 0.1, 0.2, 0.2, 0.4, 0.4]
    assert NOTHING.nearest(np.array([5, 6])).tolist() == [0.0, 0.0]
    queue = Queue("q", Service.constant(0.1), PointLoad(rate_per_s=1.0), stalling=False, theory=None)
    records = np.zeros(4, REQUEST)
    records["phase"] = Phase.MEASURE
    records["intended_ns"] = records["sent_ns"] = np.arange(4) * 1_000_000_000
    wire = Added(np.array([0, 2_100_000_000]), np.array([0.01, 0.03]))
    assert sojourns_s(queue, Measured.of(records), wire) == pytest.approx([0.11, 0.11, 0.13, 0.13])


def test_a_p99_is_asked_of_runs_that_are_long_enough_for_it() -> None:
    result = sampled(coverage.QUEUE).result

    def found(supported: int, *, required: bool) -> Coverage:
        def one(interval: dict[str, tuple[float, float]]) -> Any:
            return result.model_copy(
                update={"latency_s": result.latency_s.model_copy(update={"interval_95": interval})}
            )

        results = [(one({"p99": (0.9, 1.1)}), 1.0)] * supported + [(one({}), 1.0)] * (100 - supported)
        check = coverage.counted("http", "p99", results, 100, required=required)
        return Coverage(description="", refused={}, refusals=(), checks=(check,))

    assert found(75, required=True).checks[0].passed is True
    assert found(74, required=True).checks[0].passed is None
    assert "only 74 of 100" in coverage.failures(found(74, required=True))[0]
    assert coverage.failures(found(0, required=False)) == []


def comparison(**changed: Any) -> Comparison:
    client = Client(cpu_us_per_request=20, throughput_per_s=9000, p50_us=300, p99_us=900)
    plain: dict[str, Any] = {
        "protocol": "http",
        "concurrency": 8,
        "rounds": 5,
        "cpu_ratio": 0.4,
        "throughput_ratio": 1.2,
        "p50_ratio": 0.8,
        "p99_ratio": 1.0,
        "harness": client,
        "perf_analyzer": client,
    }
    return Comparison(**{**plain, **changed})


def test_a_comparison_fails_on_cpu_throughput_and_silence() -> None:
    assert list(against.failures([comparison()])) == []
    assert "client CPU 0.51" in next(against.failures([comparison(cpu_ratio=0.51)]))
    assert "throughput 0.90" in next(against.failures([comparison(throughput_ratio=0.9)]))
    silent = comparison(cpu_ratio=None, throughput_ratio=None, why="it did not return")
    assert "it did not return" in next(against.failures([silent]))


def test_the_printed_ratios_are_by_protocol_and_concurrency() -> None:
    document = against.printed([comparison(), comparison(protocol="grpc", concurrency=32)])
    assert set(document) == {"http", "grpc"}
    assert document["http"]["8"]["cpu_ratio"] == 0.4
    assert {"cpu_ratio", "p50_ratio", "throughput_ratio"} <= set(document["grpc"]["32"])


def test_a_point_with_neither_interval_nor_reason_is_lost() -> None:
    queue = QUEUES["bimodal service, stalls"]

    def answered(**changed: Any) -> NoisyPoint:
        result = sampled(queue, requests=500).result.model_copy(update=changed)
        return noise.answer(result, "http", "label", 1, "Failed to obtain stable measurement")

    latency = sampled(queue, requests=500).result.latency_s
    whole = answered()
    assert not whole.lost and whole.p50_interval_95 is not None
    unexplained = latency.model_copy(
        update={"p99": None, "interval_95": {}, "unsupported": {"p50": "too few"}}
    )
    lost = answered(latency_s=unexplained)
    assert lost.lost
    both = latency.model_copy(
        update={"p99": None, "interval_95": {}, "unsupported": {"p50": "too few", "p99": "too few"}}
    )
    assert not answered(latency_s=both).lost
    assert answered(throughput_interval_95=None).lost
    assert not answered(throughput_interval_95=None, verdict="invalid", reasons=("the server died",)).lost
    assert ["lost" in failure for failure in noise.failures(Noise(wanted=1, tried=1, points=(lost,)))] == [
        True
    ]
    assert list(noise.failures(Noise(wanted=1, tried=1, points=(whole,)))) == []
    assert "only 1 of 9" in next(noise.failures(Noise(wanted=2, tried=9, points=(whole,))))
