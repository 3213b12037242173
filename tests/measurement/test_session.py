"""Points that follow each other as a caller decides, on one live server."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.measurement import testbed
from harness.measurement.session import Recorded, Session
from harness.model.export import export
from harness.schema.errors import InputError
from harness.schema.load import PointLoad
from harness.schema.model import ModelArtifact
from harness.schema.point import Point
from harness.store.scenario_file import load_scenario
from harness.triton.control import Control
from harness.triton.statistics import Statistics
from tests.e2e.conftest import wait_for

SCENARIO = """\
model: double.onnx
server: {max_batch: 8}
requests:
  - {name: small, axes: {n: 16}}
load: {concurrency: 1}
measure: {warmup_s: 0.1, duration_s: 0.5}
"""

pytestmark = pytest.mark.triton


class Told:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.phases: set[str] = set()

    def say(self, text: str) -> None:
        self.said.append(text)

    def load(self, phase: str, elapsed_s: float, requests: int, errors: int) -> None:
        assert elapsed_s >= 0 and requests >= 0 and errors == 0
        self.phases.add(phase)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.triton.models import double

    folder = tmp_path_factory.mktemp("scenario")
    (folder / "double.onnx").write_bytes(double(tmp_path_factory.mktemp("models")).path.read_bytes())
    (folder / "one.yaml").write_text(SCENARIO)
    return folder


@pytest.fixture(scope="module")
def point(folder: Path) -> Point:
    (one,) = load_scenario(folder / "one.yaml").points
    return one


@pytest.fixture(scope="module")
def model(folder: Path) -> ModelArtifact:
    return export("double.onnx", base_dir=folder, progress=lambda _: None)


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[Session]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with testbed.Testbed().session(folder / "server.log", Told()) as opened:
            yield opened


def at(point: Point, concurrency: int) -> Point:
    return point.model_copy(update={"id": f"c{concurrency}", "load": PointLoad(concurrency=concurrency)})


def measured(
    session: Session, point: Point, model: ModelArtifact, place: Path, folder: Path, **how: object
) -> Recorded:
    return session.measure(point, model, place, base_dir=folder, **how)  # type: ignore[arg-type]


def rate(recorded: Recorded) -> float:
    assert recorded.observed.ended is None and recorded.window is not None, recorded.observed
    (process,) = recorded.observed.load_processes
    return process.requests / ((recorded.window.end_ns - recorded.window.start_ns) / 1e9)


def test_a_search_decides_each_point_from_those_before_on_one_server(
    session: Session, point: Point, model: ModelArtifact, folder: Path, tmp_path: Path
) -> None:
    """Nobody listed the points: concurrency doubles until three are measured; the server stays as it is."""
    rates: dict[int, float] = {}
    servers: set[tuple[int, ...]] = set()
    concurrency = 1
    while len(rates) < 3:
        recorded = measured(session, at(point, concurrency), model, tmp_path / str(concurrency), folder)
        rates[concurrency] = rate(recorded)
        servers.add(tuple(session.server.process_ids()))
        assert recorded.host and recorded.observed.server is not None
        assert list((tmp_path / str(concurrency) / "load").glob("*.spool")), (
            "its samples are where it was told"
        )
        concurrency *= 2
    assert all(each > 0 for each in rates.values())
    assert len(servers) == 1, "nothing was reconfigured"
    assert isinstance(session.observer, Told) and "measure" in session.observer.phases


def test_only_another_configuration_starts_another_server(
    session: Session, point: Point, model: ModelArtifact, folder: Path, tmp_path: Path
) -> None:
    session.serve(model, point.server)
    before = session.server.process_ids()
    other = point.model_copy(update={"server": point.server.model_copy(update={"max_batch": 16})})
    rate(measured(session, other, model, tmp_path / "other", folder))
    assert not set(before) & set(session.server.process_ids())
    environment = session.environment
    assert environment.server_mode == "embedded" and environment.triton_version == session.server.version


def test_a_caller_stops_a_point_for_a_reason_of_its_own(
    session: Session, point: Point, model: ModelArtifact, folder: Path, tmp_path: Path
) -> None:
    """It may go on for a minute, and ends when the caller has seen enough."""
    long = point.model_copy(
        update={"measure": point.measure.model_copy(update={"duration_s": 0.5, "at_most_s": 60.0})}
    )
    sizes: list[int] = []

    def enough(so_far: object) -> bool:
        sizes.append(so_far.size)  # type: ignore[attr-defined]
        return len(sizes) == 3

    recorded = measured(session, long, model, tmp_path / "stopped", folder, enough=enough)
    assert len(sizes) == 3 and sizes == sorted(sizes)
    assert recorded.observed.stopped_by == "precision" and recorded.window is not None
    assert (recorded.window.end_ns - recorded.window.start_ns) / 1e9 < 55


def test_a_server_that_died_is_started_again_for_the_next_point(
    session: Session, point: Point, model: ModelArtifact, folder: Path, tmp_path: Path
) -> None:
    session.serve(model, point.server)
    for pid in session.server.process_ids():
        if psutil.pid_exists(pid) and psutil.Process(pid).name() == "tritonserver":
            os.kill(pid, signal.SIGKILL)
    assert rate(measured(session, point, model, tmp_path / "again", folder)) > 0


def test_what_is_under_way_ends_when_the_session_is_stopped(
    session: Session, point: Point, model: ModelArtifact, folder: Path, tmp_path: Path
) -> None:
    long = point.model_copy(update={"measure": point.measure.model_copy(update={"duration_s": 120.0})})
    session.stop.set()
    try:
        recorded = measured(session, long, model, tmp_path / "stopped", folder)
    finally:
        session.stop.clear()
    assert recorded.observed.ended == "interrupted" and recorded.observed.stopped_by is None


def test_what_cannot_be_sent_is_refused_before_anything_is_served(
    session: Session, point: Point, model: ModelArtifact, folder: Path, tmp_path: Path
) -> None:
    absent = point.requests[0].model_copy(update={"folder": "no-such-folder"})
    with pytest.raises(InputError, match="has a folder"):
        measured(session, point.model_copy(update={"requests": (absent,)}), model, tmp_path, folder)
    assert rate(measured(session, point, model, tmp_path / "after", folder)) > 0


@pytest.mark.parametrize("moment", ["before the measurement", "after it"])
def test_a_server_that_is_told_to_stop_between_phases_is_waited_for_and_told(
    moment: str,
    session: Session,
    point: Point,
    model: ModelArtifact,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It refuses connections some seconds before it ends."""
    session.serve(model, point.server)
    server, moments = session.server, iter(["before the measurement", "after it"])
    statistics = server.statistics

    def stopped_first(name: str, *, version: int | None = None, settled: bool = True) -> Statistics:
        if settled and next(moments) == moment:
            os.kill(server.process_ids()[0], signal.SIGTERM)
            wait_for(lambda: not Control(server.host, server.http_port).live())
        return statistics(name, version=version, settled=settled)

    monkeypatch.setattr(server, "statistics", stopped_first)
    ended = measured(session, point, model, tmp_path, folder).observed.ended
    assert ended is not None and ended.endswith(" after it was told to stop (SIGTERM)")
