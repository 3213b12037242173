"""The Triton that the harness is calibrated on, and one measured point on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from harness.analysis.columns import gather
from harness.analysis.derive import derive
from harness.analysis.precision import enough
from harness.calibration.lanes import Lane
from harness.load.driver import drive
from harness.load.job import Job
from harness.load.recorder import Spools
from harness.probe.environment import available_cores
from harness.probe.sampler import Sampler
from harness.schema.errors import ServerError
from harness.schema.observed import Observed
from harness.schema.point import Point, PointClass, PointLoad, ServerSettings
from harness.schema.result import PointResult, ServerFigures
from harness.schema.samples import Measured
from harness.schema.scenario import Measure, Objective, Protocol, Validity
from harness.schema.tensors import Tensors
from harness.triton.embedded import EmbeddedServer
from harness.triton.statistics import Statistics, difference
from harness.triton.truth import NULL, NULL_INPUT, NULL_OUTPUT, SERVED, SERVICE, write_null, write_truth

STALL_S, PERIOD_S = 0.5, 5.0
"""The server of a stalling model stands still for so long, each so long."""

NULL_WIDTH = 64
"""FP32 values of the null model's requests: 256 bytes."""

PROTOCOLS: tuple[Protocol, ...] = ("http", "grpc")
LANES = tuple(Lane(protocol, number) for number in range(2) for protocol in PROTOCOLS)
"""What is measured at once on the truth models."""


@dataclass(frozen=True, slots=True)
class Service:
    """Of how long the requests' services are: values in seconds and their weights, a request class each.

    A class each, because the samples say of which class a request was, so that the very sequence of services
    is known afterwards.
    """

    words: str
    seconds: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def mean_s(self) -> float:
        return float(np.average(self.seconds, weights=self.weights))

    @classmethod
    def constant(cls, seconds: float) -> Service:
        return cls(f"constant {seconds * 1e3:g} ms", (seconds,), (1.0,))

    @classmethod
    def exponential(cls, mean_s: float, values: int = 1000) -> Service:
        """Each value stands for an equal share of the distribution, as that share's mean."""
        share = np.arange(values + 1) / values
        left = 1 - share
        # The integral of the quantile function -ln(1 - p) over a share is the difference of this.
        integral = left * np.log(np.where(left > 0, left, 1.0)) + share
        return cls(
            f"exponential, mean {mean_s * 1e3:g} ms",
            tuple((np.diff(integral) * values * mean_s).tolist()),
            (1.0,) * values,
        )

    @classmethod
    def bimodal(cls, short_s: float, long_s: float, long_share: float) -> Service:
        words = f"{1 - long_share:.0%} {short_s * 1e3:g} ms, {long_share:.0%} {long_s * 1e3:g} ms"
        return cls(words, (short_s, long_s), (1 - long_share, long_share))


@dataclass(frozen=True, slots=True)
class Drive:
    """One measured point: what harness says of it, and its samples."""

    result: PointResult
    measured: Measured
    cpu_s: float | None
    """CPU seconds of the load processes in the measured phase."""


class Station:
    """The server with its models, and points on it. `stop` set, whatever is under way ends soon."""

    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.stop = threading.Event()
        self._load_pids: list[int] = []
        """Of every lane: the load of one is no foreign process to the others."""

    def port(self, protocol: Protocol) -> int:
        return self.server.http_port if protocol == "http" else self.server.grpc_port

    def measure_service(
        self, service: Service, *, stalling: bool, lane: Lane, load: PointLoad, measure: Measure, seed: int
    ) -> Drive:
        """A point on a truth model."""
        names = [f"s{number}" for number in range(len(service.seconds))]
        payloads: dict[str, list[Tensors]] = {
            name: [{SERVICE: np.array([[seconds]], np.float64)}]
            for name, seconds in zip(names, service.seconds, strict=True)
        }
        weights = dict(zip(names, service.weights, strict=True))
        model = truth_model(lane, stalling=stalling)
        return self._measure(model, lane, load, measure, payloads, weights, SERVED, seed)

    def measure_null(self, *, protocol: Protocol, load: PointLoad, measure: Measure) -> Drive:
        """A point on the null model, which Triton's response cache answers for."""
        payloads: dict[str, list[Tensors]] = {"null": [{NULL_INPUT: np.zeros((1, NULL_WIDTH), np.float32)}]}
        return self._measure(NULL, Lane(protocol), load, measure, payloads, {"null": 1.0}, NULL_OUTPUT, 1)

    def _measure(
        self,
        model: str,
        lane: Lane,
        load: PointLoad,
        measure: Measure,
        payloads: Mapping[str, Sequence[Tensors]],
        weights: Mapping[str, float],
        output: str,
        seed: int,
    ) -> Drive:
        point = Point(
            id=f"{model}-{seed}",
            params={},
            model=model,
            protocol=lane.protocol,
            server=ServerSettings(
                max_batch=1,
                queue_delay_us=0,
                instances=1,
                threads=1,
                kind="cpu",
                response_cache=model == NULL,
            ),
            requests=tuple(
                PointClass(
                    name=name,
                    weight=weights[name],
                    batch=1,
                    axes={},
                    payload=None,
                    folder=None,
                    low=None,
                    high=None,
                )
                for name in payloads
            ),
            load=load,
            measure=measure,
            objective=Objective(),
            validity=Validity(),
            seed=seed,
        )
        job = Job(
            point=point,
            model=model,
            payloads=payloads,
            outputs=[output],
            host=self.server.host,
            port=self.port(lane.protocol),
            folder=self.folder / f"load-{lane.name}",
            base_dir=self.folder,
        )
        before: list[Statistics] = []
        started_at = _now()

        def between() -> None:
            lane.gather()
            before.append(self.server.statistics(model))

        with Sampler(self.server.process_ids, lambda: self._load_pids) as sampler:
            outcome = drive(
                job,
                enough=lambda measured: enough(point, measured),
                between=between,
                alive=self._alive,
                on_started=self._load_pids.extend,
            )
            figures = self._figures(model, before)
        spools = Spools(job.folder)
        measured = gather(spools.chunks(), spools.size).measured
        observed = Observed(
            started_at=started_at,
            finished_at=_now(),
            window_ns=(outcome.window.start_ns, outcome.window.end_ns) if outcome.window else None,
            ended=outcome.ended,
            stopped_by=outcome.stopped_by,
            load_processes=outcome.processes,
            server=figures,
            cores=available_cores(),
            gpus=sampler.gpus,
            no_gpu=sampler.no_gpu,
            problems=sampler.problems,
        )
        result = derive(point, observed, measured, spools.reasons, sampler.host, sampler.gpu, samples="")
        if self.stop.is_set():
            raise KeyboardInterrupt
        return Drive(result, measured, outcome.client_cpu_s)

    def _alive(self) -> str | None:
        return "interrupted" if self.stop.is_set() else self.server.exit_reason()

    def _figures(self, model: str, before: Sequence[Statistics]) -> ServerFigures | None:
        try:
            return difference(before[-1], self.server.statistics(model)) if before else None
        except ServerError:
            return None


def truth_model(lane: Lane, *, stalling: bool) -> str:
    """The model of a lane."""
    return f"calibrate-{'stalls' if stalling else 'truth'}-{lane.name}"


@contextmanager
def station(repository: Path, folder: Path) -> Iterator[Station]:
    """A live server with every model of the calibration, for the time of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with EmbeddedServer(repository, folder / "server.log", response_cache=True) as server:
        names = [write_null(repository)]
        for lane in LANES:
            names.append(write_truth(repository, truth_model(lane, stalling=False)))
            stalls = truth_model(lane, stalling=True)
            names.append(write_truth(repository, stalls, stall_s=STALL_S, period_s=PERIOD_S))
        for name in names:
            server.control.load(name)
        yield Station(server, folder)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
