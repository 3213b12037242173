"""The Triton that the harness is calibrated on, and one measured point on it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from harness.analysis.columns import gather
from harness.analysis.derive import derive
from harness.analysis.host import host_figures
from harness.analysis.precision import enough
from harness.calibration.lanes import Lane
from harness.load.coordinator.driver import drive
from harness.load.job import Job
from harness.load.process.recorder import Spools
from harness.probe.environment import available_cores
from harness.probe.sampler import Sampler
from harness.probe.watch.watch import Nothing
from harness.schema.errors import ServerError
from harness.schema.observed import Observed
from harness.schema.point import Point, PointClass, PointLoad, ServerSettings
from harness.schema.result import PointResult, ServerFigures
from harness.schema.samples import HostReading, Measured, Window
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
MOST_AT_ONCE = 8
"""Points over each protocol that the truth models are measured at, at once: at 40 requests a second in each
they leave half of two cores idle."""
LANES = tuple(Lane(protocol, number) for number in range(MOST_AT_ONCE) for protocol in PROTOCOLS)


def lanes(at_once: int) -> tuple[Lane, ...]:
    """For so many points over each protocol at once."""
    return LANES[: at_once * len(PROTOCOLS)]


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
    window: Window
    """The measured phase; of no length where there was none."""


class Station:
    """The server with its models, and points on it. `stop` set, whatever is under way ends soon."""

    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.stop = threading.Event()
        self._truth_models: dict[str, bool] = {}
        self._load_pids: set[int] = set()
        """Of every lane: the load of one is no foreign process to the others."""
        self.sampler = Sampler(
            server.process_ids, lambda: tuple(self._load_pids), watch=Nothing("the models run on the CPU")
        )
        """One for all lanes: it costs as much as a point's load."""

    def port(self, protocol: Protocol) -> int:
        return self.server.http_port if protocol == "http" else self.server.grpc_port

    def serve(self, truths: Iterable[tuple[Lane, bool]] = ()) -> None:
        """A fresh server with the null model, and a truth model for each lane: one that stalls where so said.

        Call it from the thread that the server shall live as long as.
        """
        self._truth_models = {truth_name(lane, stalling=stalling): stalling for lane, stalling in truths}
        stall_s = {True: STALL_S, False: 0.0}
        self.server.start(
            write_null,
            *(
                partial(write_truth, name=name, stall_s=stall_s[stalling], period_s=PERIOD_S)
                for name, stalling in self._truth_models.items()
            ),
        )

    def truth_model(self, lane: Lane, *, stalling: bool) -> str:
        """The name of a lane's model. It must be among those that are served."""
        name = truth_name(lane, stalling=stalling)
        assert name in self._truth_models, f"{name} isn't served"
        return name

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
        model = self.truth_model(lane, stalling=stalling)
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

        load_pids: list[int] = []

        def on_started(pids: Sequence[int]) -> None:
            load_pids.extend(pids)
            self._load_pids.update(pids)

        began_ns = time.monotonic_ns()
        outcome = drive(
            job,
            enough=lambda measured: enough(point, measured),
            between=between,
            alive=self._alive,
            on_started=on_started,
        )
        figures = self._figures(model, before)
        host = self._host(began_ns)
        self._load_pids.difference_update(load_pids)
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
            gpus=(),
            no_gpu=None,
            problems=self.sampler.problems,
        )
        result = derive(point, observed, measured, spools.reasons, host, (), samples="")
        if self.stop.is_set():
            raise KeyboardInterrupt
        window = outcome.window or Window(began_ns, began_ns)
        return Drive(result, measured, outcome.client_cpu_s, window)

    def stolen_share(self, since_ns: int) -> float:
        """Share of this machine's cores that its hypervisor gave to others since then."""
        readings = self._host(since_ns)
        figures = host_figures(readings, Window(readings[0].at_ns, readings[-1].at_ns), 0, available_cores())
        return (figures.stolen_cpu_cores or 0.0) / (os.cpu_count() or 1)

    def _host(self, since_ns: int) -> list[HostReading]:
        """The readings since then, one after this call's begin among them: it closes the window."""
        now_ns = time.monotonic_ns()
        while self.sampler.host[-1].at_ns < now_ns:
            time.sleep(0.02)
        return [reading for reading in self.sampler.host if reading.at_ns >= since_ns]

    def _alive(self) -> str | None:
        return "interrupted" if self.stop.is_set() else self.server.exit_reason()

    def _figures(self, model: str, before: Sequence[Statistics]) -> ServerFigures | None:
        try:
            return difference(before[-1], self.server.statistics(model)) if before else None
        except ServerError:
            return None


@contextmanager
def station(folder: Path) -> Iterator[Station]:
    """A live server for the time of the block, with the null model until `serve` is told of more."""
    folder.mkdir(parents=True, exist_ok=True)
    with EmbeddedServer(folder / "models", folder / "server.log", response_cache=True) as server:
        found = Station(server, folder)
        found.serve()
        with found.sampler:
            yield found


def truth_name(lane: Lane, *, stalling: bool) -> str:
    return f"calibrate-{'stalls' if stalling else 'truth'}-{lane.name}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
