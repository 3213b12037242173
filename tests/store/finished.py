"""A small run's folder with one finished point, as `harness run` leaves it; nothing was served."""

from __future__ import annotations

import json
from pathlib import Path

from harness.commands import report
from harness.commands.derived import derived, keep
from harness.schema.expansion import expand
from harness.schema.observed import Observed
from harness.schema.point import Point
from harness.schema.result import PointResult
from harness.schema.samples import GpuReading, HostReading, Window
from harness.store.run_folder import RunFolder, create_run
from harness.store.scenario_file import load_scenario
from tests.analysis.samples import observed
from tests.e2e.ten_million import readings, write_spools
from tests.report.factory import artifact, environment

SCENARIO = """\
model: minilm
requests:
  - {name: short, tokens: 16}
  - {name: long, tokens: 128}
load: {rate_per_s: 100}
"""


def facts(window: Window) -> Observed:
    return observed(500).model_copy(update={"window_ns": (window.start_ns, window.end_ns)})


def begun_run(
    results: Path, text: str = SCENARIO, scenario: Path | None = None, *, one_after_another: bool = False
) -> RunFolder:
    """A run's folder in which no point was finished."""
    file = scenario or results / "small.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    folder = create_run(results, load_scenario(file), one_after_another=one_after_another)
    folder.write_models([artifact()])
    folder.write_environment(environment(gpu=True))
    return folder


def finished_run(results: Path, text: str = SCENARIO, requests: int = 500) -> RunFolder:
    """A run's folder with every point finished, and its result."""
    folder = begun_run(results, text)
    for point in expand(folder.read_scenario().scenario):
        finish(folder, point, requests)
    folder.write_result(report.collect(folder, {}))
    return folder


def finish(folder: RunFolder, point: Point, requests: int = 500) -> PointResult:
    """Begin a point, and finish it with made-up samples."""
    window = write_spools(folder.begin_point(point) / "load", requests)
    host: list[HostReading] = readings(window)
    gpu = [
        GpuReading(host[i].at_ns, 0, 0.5, 2**30, 300.0, 10.0 * i, 60.0, 1e9, 1e9, (), ("other (7)",))
        for i in range(len(host))
    ]
    keep(point, folder, window=window, host=host, gpu=gpu)
    folder.finish_point(point, facts(window))
    result = derived(point, folder, facts(window)).result
    assert result.requests == requests
    return result


def asked_for(run: RunFolder, **changed: dict[str, object]) -> None:
    """Change what every point of the run was asked for: keys under its `objective`, `validity` or others."""
    for file in (run.path / "points").glob("*/point.json"):
        begun = json.loads(file.read_text())
        for part, keys in changed.items():
            begun["point"][part] |= keys
        file.write_text(json.dumps(begun))
