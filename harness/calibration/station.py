"""The Triton that the harness is calibrated on, and one measured point on it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from harness.analysis.columns import gather
from harness.analysis.derive import derive
from harness.analysis.host import host_figures
from harness.calibration.lanes import Lane
from harness.calibration.service import Service
from harness.load.spools import Spools
from harness.measurement.session import Session
from harness.measurement.workload import Workload
from harness.probe.environment import available_cores
from harness.schema.load import PointLoad
from harness.schema.point import Point, PointClass, ServerSettings
from harness.schema.result import PointResult
from harness.schema.samples import Measured, Window
from harness.schema.scenario import Measure, Objective, Protocol, Validity
from harness.schema.tensors import Tensors
from harness.triton.embedded import EmbeddedServer
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
    """The lanes for that many points over each protocol at once."""
    return LANES[: at_once * len(PROTOCOLS)]


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
    """A session on a server with the models of a calibration, and points on it."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.session = session
        self.server = session.server
        self.folder = folder
        self._truth_models: dict[str, bool] = {}

    @property
    def stop(self) -> threading.Event:
        """Once it is set, whatever is measured ends soon."""
        return self.session.stop

    def port(self, protocol: Protocol) -> int:
        port = self.server.http_port if protocol == "http" else self.server.grpc_port
        assert port is not None, "the server is our own"
        return port

    def serve(self, truths: Iterable[tuple[Lane, bool]] = ()) -> None:
        """A fresh server with the null model, and a truth model for each lane: one that stalls where so said.

        Call it from the thread that the server shall live as long as.
        """
        self._truth_models = {truth_name(lane, stalling=stalling): stalling for lane, stalling in truths}
        stall_s = {True: STALL_S, False: 0.0}
        self.session.serve_entries(
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
        began_ns = time.monotonic_ns()
        recorded = self.session.send(
            point,
            Workload(model, payloads, [output]),
            self.folder / lane.name,
            base_dir=self.folder,
            before_measuring=lane.gather,
        )
        spools = Spools(recorded.folder)
        measured = gather(spools.chunks(), spools.size).measured
        result = derive(point, recorded.observed, measured, spools.reasons, recorded.host, (), samples="")
        if self.stop.is_set():
            raise KeyboardInterrupt
        window = recorded.window or Window(began_ns, began_ns)
        return Drive(result, measured, recorded.client_cpu_s, window)

    def stolen_share(self, since_ns: int) -> float:
        """Share of this machine's cores that its hypervisor gave to others since then."""
        readings = self.session.host_since(since_ns)
        figures = host_figures(readings, Window(readings[0].at_ns, readings[-1].at_ns), 0, available_cores())
        return (figures.stolen_cpu_cores or 0.0) / (os.cpu_count() or 1)


@contextmanager
def station(folder: Path) -> Iterator[Station]:
    """A live server for the time of the block, with the null model until `serve` adds others."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        EmbeddedServer(folder / "models", folder / "server.log", response_cache=True) as server,
        Session(server, at_once=True) as session,
    ):
        found = Station(session, folder)
        found.serve()
        yield found


def truth_name(lane: Lane, *, stalling: bool) -> str:
    return f"calibrate-{'stalls' if stalling else 'truth'}-{lane.name}"
