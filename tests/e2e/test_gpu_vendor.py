"""GPUs of a vendor that another package adds, through the real command line: listed, read, and served."""

from __future__ import annotations

import json
import os

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import AS_TINY, TINY, Workplace, served, valid
from tests.e2e.test_probe import probing
from tests.gpu_vendor import NAMES, POWER_W, replayed

ONE = TINY.replace("[4, 8]", "8").replace("server: {", "server: {kind: cpu, ")
"""A single point of 2 s, computed on the CPU: the GPUs beside it are read all the same."""


@pytest.mark.triton
def test_a_run_has_their_figures_and_keeps_their_readings(workplace: Workplace) -> None:
    workplace.env |= replayed(workplace.path, pid=os.getpid())
    done = workplace.run("run", workplace.scenario(ONE), "--json")
    document = valid(done)
    (folder,) = workplace.runs
    environment = json.loads((folder / "environment.json").read_text())
    for seen in (environment, document["environment"]):
        assert [(gpu["device"], gpu["name"]) for gpu in seen["gpus"]] == list(enumerate(NAMES))
    (point,) = json.loads((folder / "result.json").read_text())["points"]
    assert point["gpu_probe"]["source"] == "replay"
    for gpu, name, power_w in zip(point["gpu"], NAMES, POWER_W, strict=True):
        assert gpu["name"] == name
        assert gpu["energy_j"] == pytest.approx(power_w * point["duration_s"], rel=0.1)
        assert gpu["temperature_c_max"] is None
        assert gpu["unsupported"]["temperature_c_max"] == "the recording doesn't have it"
    first, second = point["gpu"]
    assert first["idle_power_w"] == pytest.approx(POWER_W[0], rel=0.1)
    assert "other processes" in second["unsupported"]["idle_power_w"]
    assert first["foreign_processes"] == []
    assert second["foreign_processes"][0].endswith(f"({os.getpid()})")
    readings = pq.read_table(folder / point["samples"] / "gpu.parquet").to_pylist()
    assert {(r["device"], r["power_w"]) for r in readings} == set(enumerate(POWER_W))
    assert len(readings) == point["gpu_probe"]["readings"]


def test_doctor_and_probe_list_them_and_where_it_is_missing_say_so(workplace: Workplace) -> None:
    workplace.env |= replayed(workplace.path, seconds=1)
    found = [f for f in workplace.run("doctor", "--json").document["findings"] if f["what"] == "GPU"]
    assert [(f["ok"], f["found"]) for f in found] == [
        (True, f"GPU {i}: {name}, 64 GiB, driver 6.12") for i, name in enumerate(NAMES)
    ]
    seen = workplace.run("probe", "--json").document
    assert [r["power_w"] for r in seen["readings"]] == list(POWER_W)
    record = workplace.run("probe", "--record", "gpu.txt", "--for-s", "0.1")
    assert record.code == 4
    assert "GPUs of the vendor replay can't be recorded" in record.stderr
    workplace.env["REPLAYED_GPUS"] = str(workplace.path / "nothing")
    seen = workplace.run("probe", "--json").document
    assert "the GPU vendor replay failed (FileNotFoundError" in seen["unavailable"]


@pytest.mark.triton
def test_a_probe_serves_them(workplace: Workplace) -> None:
    vendor = replayed(workplace.path)
    with (
        served(workplace, "double.onnx", *AS_TINY) as (at, pid),
        probing(workplace, pid, vendor) as (address, _),
    ):
        options = ("--url", at["http"], "--probe", address, "--json")
        done = workplace.run("run", workplace.scenario(ONE.replace("kind: cpu, ", "")), *options)
    (point,) = valid(done)["points"]
    assert point["gpu_probe"]["source"] == "remote probe"
    assert [gpu["name"] for gpu in point["gpu"]] == list(NAMES)
    assert point["gpu"][0]["energy_j"] == pytest.approx(POWER_W[0] * point["duration_s"], rel=0.1)
