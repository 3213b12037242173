"""A shape of load that an installed package adds, with the real command on a real server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.e2e.conftest import Workplace
from tests.schema.sine import package_with_sine

pytestmark = pytest.mark.triton

SCENARIO = """\
model: double.onnx
requests:
  - {name: small, axes: {n: 16}}
load: {sine: {mean_per_s: [40, 80], swing_per_s: 30, period_s: 2}}
measure: {warmup_s: 0.2, duration_s: 2}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, send_lag_ms: 10000, idle_users: 1, drift: 1000}
"""


@pytest.fixture
def with_sine(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    workplace.env["PYTHONPATH"] = str(package_with_sine(tmp_path_factory.mktemp("installed")))
    return workplace


def test_an_added_shape_is_planned_and_an_unknown_one_lists_it(with_sine: Workplace) -> None:
    done = with_sine.run("run", with_sine.scenario(SCENARIO), "--dry-run", "--json")
    assert done.code == 0, done.stderr
    assert [point["load"] for point in done.document["points"]] == [
        "sine 40 ± 30/s constant",
        "sine 80 ± 30/s constant",
    ]
    assert [point["label"] for point in done.document["points"]] == ["mean_per_s 40.0", "mean_per_s 80.0"]
    wrong = with_sine.scenario(SCENARIO.replace("{sine:", "{wave:"))
    done = with_sine.run("run", wrong, "--dry-run")
    assert done.code == 2 and "replay, sine, arrivals" in done.stderr and "Traceback" not in done.stderr
    del with_sine.env["PYTHONPATH"]
    done = with_sine.run("run", with_sine.scenario(SCENARIO), "--dry-run")
    assert done.code == 2 and "unknown key `load.sine`" in done.stderr


def test_an_added_shape_is_measured_and_told_like_any_other(with_sine: Workplace) -> None:
    scenario = with_sine.scenario(SCENARIO.replace("[40, 80]", "120"))
    done = with_sine.run("run", scenario)
    assert done.code == 0, done.stdout + done.stderr
    assert "sine 120 ± 30/s constant" in done.stdout
    (run,) = with_sine.runs
    assert "sine 120 ± 30/s constant" in (run / "report.html").read_text()
    result = json.loads((run / "result.json").read_text())
    (point,) = result["points"]
    load = point["point"]["load"]
    assert load["sine"] == {"mean_per_s": 120.0, "swing_per_s": 30.0, "period_s": 2.0}
    assert load["concurrency"] is None and load["arrivals"] == "constant"
    assert point["errors"] == 0 and point["requests"] == 240
    assert planned(run / point["samples"]) == pytest.approx([139, 101], abs=1), "up for a second, then down"
    done = with_sine.run("report", run)
    assert done.code == 0 and "sine 120 ± 30/s constant" in done.stdout, done.stderr


def planned(folder: Path) -> list[int]:
    """Requests that were due in the first and in the second half of the measured phase."""
    frame = pd.read_parquet(folder / "requests.parquet")
    due_s = frame[frame.phase == "measure"].intended_ns.sort_values() / 1e9
    counts: list[int] = np.histogram(due_s - due_s.iloc[0], bins=[0, 1, 2])[0].tolist()
    return counts
