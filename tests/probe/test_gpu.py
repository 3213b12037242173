"""GPU readings through the real pynvml, over the double in the driver's place (and over no driver at all)."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests import nvml
from tests.nvml import NvmlDouble

SCRIPT = """
import dataclasses, json, os, sys, time
import pynvml
from harness.probe import gpu

out = {"availability": gpu.availability(), "rounds": []}
out["accelerators"] = [dataclasses.asdict(a) for a in gpu.accelerators()]
with gpu.Gpus() as gpus:
    out["devices"] = [d.model_dump() for d in gpus.devices]
    for _ in range(int(sys.argv[1])):
        out["rounds"].append([dataclasses.asdict(r) for r in gpus.read({os.getpid()})])
        time.sleep(0.02)
    out["unavailable"] = gpus.unavailable
    out["problems"] = gpus.problems
out["library"] = [l.split()[-1] for l in open("/proc/self/maps") if "libnvidia-ml" in l][:1]
print(json.dumps(out))
"""


def observe(environment: dict[str, str], rounds: int = 2) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(rounds)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_pynvml_itself_loads_the_double_and_its_values_come_through(nvml_double: NvmlDouble) -> None:
    environment = nvml_double()
    seen = observe(environment)
    assert seen["library"][0].startswith(environment["LD_LIBRARY_PATH"].split(":")[0])
    assert seen["availability"] is None
    (reading,) = seen["rounds"][0]
    assert reading.pop("at_ns") > 0
    assert reading.pop("energy_j") > 0
    assert reading == {
        "device": 0,
        "utilization": nvml.UTILIZATION,
        "memory_bytes": nvml.MEMORY_USED_BYTES,
        "power_w": nvml.POWER_W,
        "temperature_c": nvml.TEMPERATURE_C,
        "sm_clock_hz": nvml.SM_CLOCK_HZ,
        "memory_clock_hz": nvml.MEMORY_CLOCK_HZ,
        "throttle_reasons": list(nvml.THROTTLE_REASONS),
        "foreign_processes": [],
    }
    assert seen["devices"] == [
        {
            "device": 0,
            "name": nvml.NAME,
            "uuid": "GPU-00000000-0000-0000-0000-000000000000",
            "memory_bytes": nvml.MEMORY_TOTAL_BYTES,
            "driver": nvml.DRIVER,
            "cuda_driver": nvml.CUDA_DRIVER,
            "power_limit_w": nvml.POWER_LIMIT_W,
            "persistence": True,
            "ecc": True,
            "mig": False,
        }
    ]
    assert seen["problems"] == []
    (accelerator,) = seen["accelerators"]
    assert accelerator == {
        "usable": True,
        "description": f"GPU 0: {nvml.NAME}, 80 GiB, driver {nvml.DRIVER}",
    }


def test_energy_is_power_times_time_at_the_time_that_stands_in_the_reading(nvml_double: NvmlDouble) -> None:
    rounds = observe(nvml_double("gpus=2 power_w=400"), rounds=10)["rounds"]
    for index, power_w in enumerate((400, 300)):
        readings = [readings[index] for readings in rounds]
        for reading, following in itertools.pairwise(readings):
            # the double's counter is its power times the monotonic clock, in whole millijoules
            counted_ns = reading["energy_j"] / power_w * 1e9
            assert reading["at_ns"] - 1e7 < counted_ns < following["at_ns"]


@pytest.mark.parametrize(
    ("calls", "field"),
    [
        ("Utilization", "utilization"),
        ("Memory", "memory_bytes"),
        ("Power", "power_w"),
        ("Energy", "energy_j"),
        ("Temperature", "temperature_c"),
        ("ClocksEventReasons", "throttle_reasons"),
        ("Processes", "foreign_processes"),
    ],
)
def test_what_is_not_supported_is_none_and_nothing_else_is(
    nvml_double: NvmlDouble, calls: str, field: str
) -> None:
    seen = observe(nvml_double(f"unsupported={calls}"))
    for (reading,) in seen["rounds"]:
        assert [name for name, value in reading.items() if value is None] == [field]
    assert seen["problems"] == []


def test_unsupported_identity_is_none(nvml_double: NvmlDouble) -> None:
    (device,) = observe(nvml_double("unsupported=Ecc,Mig,PowerLimit,Persistence"))["devices"]
    assert {k for k, v in device.items() if v is None} == {"ecc", "mig", "power_limit_w", "persistence"}


def test_a_lost_gpu_is_noted_once_and_the_other_goes_on(nvml_double: NvmlDouble) -> None:
    # one identity (a handle and 7 calls), one whole reading (10 calls), and the second is cut short
    seen = observe(nvml_double("gpus=2 lost=1@20"), rounds=4)
    assert [[r["device"] for r in readings] for readings in seen["rounds"]] == [[0, 1], [0, 1], [0], [0]]
    whole, lost = seen["rounds"][0][1], seen["rounds"][1][1]
    assert whole["power_w"] == nvml.POWER_W - 100
    assert {name for name, value in lost.items() if value is not None} == {"at_ns", "device"}
    assert all(readings[0]["power_w"] == nvml.POWER_W for readings in seen["rounds"])
    (problem,) = seen["problems"]
    assert problem.startswith("GPU 1 was lost")
    assert len(seen["devices"]) == 2


def test_a_gpu_that_is_lost_from_the_start_is_reported_and_the_other_is_read(nvml_double: NvmlDouble) -> None:
    seen = observe(nvml_double("gpus=2 lost=0@0"))
    assert [[r["device"] for r in readings] for readings in seen["rounds"]] == [[1], [1]]
    assert seen["problems"] == ["GPU 0 can't be opened: NVML says 'GPU is lost'"]


def test_a_passing_error_costs_one_value_and_not_the_gpu(nvml_double: NvmlDouble) -> None:
    rounds = observe(nvml_double("flaky=5"), rounds=6)["rounds"]
    powers = [readings[0]["power_w"] for readings in rounds]
    assert len(rounds) == 6 and nvml.POWER_W in powers
    assert any(value is None for readings in rounds for value in readings[0].values())


def test_mig_is_seen_and_has_no_utilization(nvml_double: NvmlDouble) -> None:
    seen = observe(nvml_double("mig=1"))
    assert seen["devices"][0]["mig"] is True
    assert [r["utilization"] for (r,) in seen["rounds"]] == [None, None]
    assert seen["rounds"][0][0]["memory_bytes"] == nvml.MEMORY_USED_BYTES
    assert seen["accelerators"][0]["description"].endswith("MIG on")


def test_drivers_that_know_only_the_older_or_the_newer_name_of_a_call_are_read(
    nvml_double: NvmlDouble,
) -> None:
    for missing in ("ClocksEventReasons", "ClocksThrottleReasons", "Temperature", "TemperatureV"):
        (reading,) = observe(nvml_double(f"missing={missing}"))["rounds"][0]
        assert reading["throttle_reasons"] == list(nvml.THROTTLE_REASONS)
        assert reading["temperature_c"] == nvml.TEMPERATURE_C


def test_clock_event_reasons_are_named_and_unknown_ones_kept(nvml_double: NvmlDouble) -> None:
    def named(mask: str) -> Any:
        return observe(nvml_double(f"reasons={mask}"))["rounds"][0][0]["throttle_reasons"]

    assert named("0x0") == []
    assert named("0x61") == ["gpu_idle", "sw_thermal_slowdown", "hw_thermal_slowdown"]
    assert named("0x40000008") == ["hw_slowdown", "unknown_0x40000000"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("init=9", "kernel module is not loaded"),
        ("init=18", "reboot"),
        ("init=4", "Insufficient Permissions"),
        ("gpus=0", "lists no GPU"),
    ],
)
def test_a_driver_without_a_usable_gpu_gives_the_reason_in_words(
    nvml_double: NvmlDouble, script: str, reason: str
) -> None:
    seen = observe(nvml_double(script))
    assert reason in seen["availability"]
    assert seen["accelerators"] == [{"usable": False, "description": seen["availability"]}]
    assert (seen["rounds"], seen["devices"]) == ([[], []], [])


def test_without_a_driver_there_is_nothing_and_the_reason() -> None:
    seen = observe({})
    if seen["availability"] is None:
        pytest.skip("this machine has an NVIDIA driver")
    assert seen["availability"] == "no NVIDIA driver: its library libnvidia-ml.so.1 was not found"
    assert (seen["rounds"], seen["devices"], seen["problems"]) == ([[], []], [], [])
