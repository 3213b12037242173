"""GPU readings through the real pynvml, over the double in the driver's place (and over no driver at all)."""

from __future__ import annotations

import itertools
import os
from typing import Any

import pytest

from tests import nvml
from tests.nvml import NvmlDouble, observe, observe_each

WHOLE_GPU: dict[str, Any] = {
    "device": 0,
    "mig_instance": None,
    "name": nvml.NAME,
    "uuid": "GPU-00000000-0000-0000-0000-000000000000",
    "memory_bytes": nvml.MEMORY_TOTAL_BYTES,
    "driver": nvml.DRIVER,
    "cuda_driver": nvml.CUDA_DRIVER,
    "power_limit_w": nvml.POWER_LIMIT_W,
    "power_limit_default_w": 650.0,
    "persistence": True,
    "ecc": True,
    "mig": False,
    "compute_capability": "9.0",
    "vbios": "96.00.99.00.01",
    "sm_clock_max_hz": 1.98e9,
    "memory_clock_max_hz": 3.201e9,
    "application_sm_clock_hz": 1.8e9,
    "application_memory_clock_hz": 3.2e9,
    "default_sm_clock_hz": 1.83e9,
    "default_memory_clock_hz": 3.199e9,
    "compute_mode": "Exclusive_Process",
    "pcie_generation": 4,
    "pcie_width": 8,
    "pcie_generation_max": 5,
    "pcie_width_max": 16,
    "unsupported": {},
}


def seen_in(rounds: Any) -> set[str]:
    """Fields that have a value in some reading."""
    return {name for readings in rounds for r in readings for name, value in r.items() if value is not None}


EVERY_FIELD = {
    "at_ns", "device", "utilization", "memory_bytes", "power_w", "energy_j", "temperature_c", "sm_clock_hz",
    "memory_clock_hz", "throttle_reasons", "ecc_errors", "processes", *nvml.ACTIVITY,
}  # fmt: skip
"""Of a reading of a whole GPU; `foreign_processes` isn't known here."""


def test_pynvml_itself_loads_the_double_and_its_values_come_through(nvml_double: NvmlDouble) -> None:
    environment = nvml_double(f"processes={os.getpid()}")
    seen = observe(environment, rounds=4)
    assert seen["library"][0].startswith(environment["LD_LIBRARY_PATH"].split(":")[0])
    assert seen["availability"] is None
    (first,), _, _, (fourth,) = seen["rounds"]
    process = first["processes"][0]
    assert (process["pid"], process["memory_bytes"]) == (os.getpid(), nvml.PROCESS_MEMORY_BYTES)
    assert process["name"]
    assert {
        k: v for k, v in first.items() if v is not None and k not in ("at_ns", "energy_j", "processes")
    } == {
        "device": 0,
        "utilization": nvml.UTILIZATION,
        "memory_bytes": nvml.MEMORY_USED_BYTES,
        "power_w": nvml.POWER_W,
        "temperature_c": nvml.TEMPERATURE_C,
        "sm_clock_hz": nvml.SM_CLOCK_HZ,
        "memory_clock_hz": nvml.MEMORY_CLOCK_HZ,
        "throttle_reasons": list(nvml.THROTTLE_REASONS),
        "ecc_errors": nvml.ECC_ERRORS,
    }
    assert {name: fourth[name] for name in nvml.ACTIVITY} == nvml.ACTIVITY
    assert seen_in(seen["rounds"]) == EVERY_FIELD
    assert seen["devices_at_start"] == seen["devices"] == [WHOLE_GPU]
    assert seen["unsupported"] == [[0, None, {}]]
    assert seen["problems"] == []
    (accelerator,) = seen["accelerators"]
    assert accelerator == {
        "usable": True,
        "description": f"GPU 0: {nvml.NAME}, 80 GiB, driver {nvml.DRIVER}",
    }


def test_each_value_is_read_at_the_pace_that_the_driver_has_new_ones_at(nvml_double: NvmlDouble) -> None:
    rounds = observe(nvml_double("processes=1"), rounds=42)["rounds"]

    def looks(field: str) -> list[int]:
        return [i for i, (reading,) in enumerate(rounds) if reading[field] is not None]

    for field in ("power_w", "sm_clock_hz", "throttle_reasons"):
        assert looks(field) == list(range(42))
    assert looks("energy_j") == list(range(0, 42, 2))
    assert looks("utilization") == list(range(0, 42, 3))
    for field in nvml.ACTIVITY:
        assert looks(field) == list(range(3, 42, 3)), "the first sample has none before it"
    for field in ("memory_bytes", "temperature_c", "memory_clock_hz", "ecc_errors", "processes"):
        assert looks(field) == [0, 20, 40]


def test_the_last_reading_has_everything_due_or_not_but_activity_of_too_short_a_time(
    nvml_double: NvmlDouble,
) -> None:
    # GPM's samples are taken at looks 1 and 4: the last reading is 110 ms, or 10 ms, after one
    late, soon = (observe(nvml_double("processes=1"), rounds, last=True)["last"] for rounds in (3, 4))
    assert seen_in([late]) == EVERY_FIELD
    assert seen_in([soon]) == EVERY_FIELD - {"utilization", *nvml.ACTIVITY}


def test_activity_is_the_mean_since_the_reading_before_that_has_it(nvml_double: NvmlDouble) -> None:
    # it grows by 2 percent points in 100 ms; the first sample is taken at 50 ms, and one each 150 ms after
    rounds = observe(nvml_double("varying=1"), rounds=13)["rounds"]
    means = [reading["sm_activity"] for (reading,) in rounds if reading["sm_activity"] is not None]
    middles_ms = [125, 275, 425, 575]
    assert means == pytest.approx([nvml.ACTIVITY["sm_activity"] + 0.02 * ms / 100 for ms in middles_ms])


def test_energy_is_power_times_time_at_the_time_that_stands_in_the_reading(nvml_double: NvmlDouble) -> None:
    rounds = observe(nvml_double("gpus=2 power_w=400"), rounds=10)["rounds"]
    for index, power_w in enumerate((400, 300)):
        readings = [r[index] for r in rounds if r[index]["energy_j"] is not None]
        assert len(readings) == 5
        for reading, following in itertools.pairwise(readings):
            seconds = (following["at_ns"] - reading["at_ns"]) / 1e9
            assert following["energy_j"] - reading["energy_j"] == pytest.approx(power_w * seconds)
        # the double's counter is its power times its clock, in whole millijoules
        assert readings[0]["energy_j"] == pytest.approx(power_w * readings[0]["at_ns"] / 1e9)


def test_what_is_not_supported_is_none_with_the_reason_and_nothing_else_is(nvml_double: NvmlDouble) -> None:
    expected = {
        "nvmlDeviceGetUtilizationRates": {"utilization"},
        "nvmlDeviceGetMemoryInfo": {"memory_bytes"},
        "nvmlDeviceGetFieldValues,nvmlDeviceGetPowerUsage": {"power_w"},
        "nvmlDeviceGetTotalEnergyConsumption": {"energy_j"},
        "nvmlDeviceGetTemperature": {"temperature_c"},
        "nvmlDeviceGetClockInfo(1)": {"sm_clock_hz"},
        "nvmlDeviceGetClockInfo(2)": {"memory_clock_hz"},
        "nvmlDeviceGetCurrentClocksEventReasons": {"throttle_reasons"},
        "nvmlDeviceGetTotalEccErrors": {"ecc_errors"},
        "nvmlDeviceGetComputeRunningProcesses_v3": {"processes"},
        "nvmlGpmSampleAlloc": set(nvml.ACTIVITY),
        "nvmlGpmSampleGet": set(nvml.ACTIVITY),
        "nvmlGpmMetricsGet": set(nvml.ACTIVITY),
        "nvmlGpmMetric(5)": {"tensor_activity"},
    }
    scripts = [f"processes=1 unsupported={calls}" for calls in expected]
    all_seen = observe_each(nvml_double(), scripts, rounds=8)
    for (calls, fields), seen in zip(expected.items(), all_seen, strict=True):
        assert EVERY_FIELD - seen_in(seen["rounds"]) == fields, calls
        ((_, _, reasons),) = seen["unsupported"]
        assert set(reasons) == fields
        if calls != "nvmlGpmSampleAlloc":
            assert set(reasons.values()) == {"the driver says: Not Supported"}
        assert seen["devices"][0]["unsupported"] == reasons
        assert seen["problems"] == []


def test_before_hopper_the_reason_is_in_words(nvml_double: NvmlDouble) -> None:
    query = "nvmlGpmQueryDeviceSupport"
    scripts = [f"processes=1 {word}" for word in ("gpm=0", f"missing={query}", f"unsupported={query}")]
    for seen in observe_each(nvml_double(), scripts, rounds=8):
        assert EVERY_FIELD - seen_in(seen["rounds"]) == set(nvml.ACTIVITY)
        reasons = dict.fromkeys(nvml.ACTIVITY, "needs GPM: Hopper or newer")
        assert seen["unsupported"] == [[0, None, reasons]]
        assert seen["devices_at_start"][0]["unsupported"] == reasons, "it is known before the first reading"


def test_identity_that_is_refused_is_none_with_the_reason(nvml_double: NvmlDouble) -> None:
    expected = {
        "nvmlDeviceGetEccMode": {"ecc"},
        "nvmlDeviceGetMigMode": {"mig"},
        "nvmlDeviceGetEnforcedPowerLimit": {"power_limit_w"},
        "nvmlDeviceGetPowerManagementDefaultLimit": {"power_limit_default_w"},
        "nvmlDeviceGetPersistenceMode": {"persistence"},
        "nvmlSystemGetDriverVersion": {"driver"},
        "nvmlSystemGetCudaDriverVersion": {"cuda_driver"},
        "nvmlDeviceGetCudaComputeCapability": {"compute_capability"},
        "nvmlDeviceGetVbiosVersion": {"vbios"},
        "nvmlDeviceGetMaxClockInfo(1)": {"sm_clock_max_hz"},
        "nvmlDeviceGetMaxClockInfo(2)": {"memory_clock_max_hz"},
        "nvmlDeviceGetApplicationsClock": {"application_sm_clock_hz", "application_memory_clock_hz"},
        "nvmlDeviceGetDefaultApplicationsClock": {"default_sm_clock_hz", "default_memory_clock_hz"},
        "nvmlDeviceGetComputeMode": {"compute_mode"},
        "nvmlDeviceGetCurrPcieLinkGeneration": {"pcie_generation"},
        "nvmlDeviceGetCurrPcieLinkWidth": {"pcie_width"},
        "nvmlDeviceGetMaxPcieLinkGeneration": {"pcie_generation_max"},
        "nvmlDeviceGetMaxPcieLinkWidth": {"pcie_width_max"},
    }
    for word, reason in (
        ("unsupported", "the driver says: Not Supported"),
        ("missing", "this driver doesn't know the call"),
    ):
        all_seen = observe_each(nvml_double(), [f"{word}={call}" for call in expected], rounds=0)
        for (call, fields), seen in zip(expected.items(), all_seen, strict=True):
            reasons = dict.fromkeys(fields, reason)
            wanted = WHOLE_GPU | dict.fromkeys(fields) | {"unsupported": reasons}
            assert seen["devices_at_start"] == [wanted], call


def test_a_lost_gpu_is_noted_once_and_the_other_goes_on(nvml_double: NvmlDouble) -> None:
    seen = observe(nvml_double("gpus=2 lost=1@120ms"), rounds=5)
    assert [[r["device"] for r in readings] for readings in seen["rounds"]] == [
        [0, 1],
        [0, 1],
        [0, 1],
        [0],
        [0],
    ]
    whole, lost = seen["rounds"][1][1], seen["rounds"][2][1]
    assert whole["power_w"] == nvml.POWER_W - 100
    assert {name for name, value in lost.items() if value is not None} == {"at_ns", "device"}
    assert all(readings[0]["power_w"] == nvml.POWER_W for readings in seen["rounds"])
    (problem,) = seen["problems"]
    assert problem.startswith("GPU 1 was lost (NVML: GPU is lost)")
    assert len(seen["devices"]) == 2


def test_a_gpu_that_is_lost_within_a_look_has_no_half_reading(nvml_double: NvmlDouble) -> None:
    # from the end of its identity through its first look, call by call
    all_seen = observe_each(nvml_double(), [f"gpus=2 lost=1@{calls}" for calls in range(24, 40)], rounds=1)
    lost = [r for seen in all_seen if seen["problems"] for r in seen["rounds"][0] if r["device"] == 1]
    assert 10 < len(lost) < len(all_seen)
    for reading in lost:
        assert {name for name, value in reading.items() if value is not None} == {"at_ns", "device"}


def test_a_gpu_that_is_lost_from_the_start_is_reported_and_the_other_is_read(nvml_double: NvmlDouble) -> None:
    seen = observe(nvml_double("gpus=2 lost=0@0"))
    assert [[r["device"] for r in readings] for readings in seen["rounds"]] == [[1], [1]]
    assert seen["problems"] == ["GPU 0 can't be opened: NVML says 'GPU is lost'"]


def test_a_passing_error_costs_one_value_and_not_the_gpu(nvml_double: NvmlDouble) -> None:
    seen = observe(nvml_double("flaky=5"), rounds=30)
    powers = [readings[0]["power_w"] for readings in seen["rounds"]]
    assert len(powers) == 30 and 10 < powers.count(nvml.POWER_W) < 30
    assert EVERY_FIELD - {"mig_instance"} == seen_in(seen["rounds"])
    assert seen["problems"] == []
    ((_, _, reasons),) = seen["unsupported"]
    assert set(reasons.values()) <= {"the driver says: Timeout"}
    answered_last = {
        field
        for field in EVERY_FIELD - set(nvml.ACTIVITY)
        if [r[field] for (r,) in seen["rounds"][-20:]][-1] is not None
    }
    assert answered_last and not answered_last & reasons.keys(), "the reason went with the next answer"


def test_power_is_the_present_one_or_the_mean_where_the_driver_has_no_other(nvml_double: NvmlDouble) -> None:
    expected = {
        "": nvml.POWER_W,
        "unsupported=nvmlDeviceGetFieldValues": nvml.MEAN_POWER_W,
        "missing=nvmlDeviceGetFieldValues": nvml.MEAN_POWER_W,
        "unsupported=nvmlDeviceGetPowerUsage": nvml.POWER_W,
    }
    all_seen = observe_each(nvml_double(), list(expected))
    powers = [{r["power_w"] for (r,) in seen["rounds"]} for seen in all_seen]
    assert powers == [{power_w} for power_w in expected.values()]


def test_drivers_that_know_only_the_older_or_the_newer_name_of_a_call_are_read(
    nvml_double: NvmlDouble,
) -> None:
    calls = ("CurrentClocksEventReasons", "CurrentClocksThrottleReasons", "Temperature", "TemperatureV")
    for seen in observe_each(nvml_double(), [f"missing=nvmlDeviceGet{call}" for call in calls], rounds=1):
        ((reading,),) = seen["rounds"]
        assert reading["throttle_reasons"] == list(nvml.THROTTLE_REASONS)
        assert reading["temperature_c"] == nvml.TEMPERATURE_C


def test_clock_event_reasons_are_named_and_unknown_ones_kept(nvml_double: NvmlDouble) -> None:
    expected = {
        "0x0": [],
        "0x61": ["gpu_idle", "sw_thermal_slowdown", "hw_thermal_slowdown"],
        "0x40000008": ["hw_slowdown", "unknown_0x40000000"],
    }
    all_seen = observe_each(nvml_double(), [f"reasons={mask}" for mask in expected], rounds=1)
    assert [seen["rounds"][0][0]["throttle_reasons"] for seen in all_seen] == list(expected.values())


def test_processes_with_a_graphics_context_are_listed_too_and_each_once(nvml_double: NvmlDouble) -> None:
    nobody = 2**22 + 1  # above the largest id that Linux gives
    script = f"processes={os.getpid()},{nobody} graphics={nobody},1"
    scripts = (script, f"{script} missing=nvmlDeviceGetGraphicsRunningProcesses_v3", "")
    both, compute, none = (
        seen["rounds"][0][0]["processes"] for seen in observe_each(nvml_double(), scripts, rounds=1)
    )
    assert [p["pid"] for p in both] == [os.getpid(), nobody, 1]
    assert [p["name"] is None for p in both] == [False, True, False]
    assert [p["pid"] for p in compute] == [os.getpid(), nobody]
    assert none == []


def test_a_driver_without_a_usable_gpu_gives_the_reason_in_words(nvml_double: NvmlDouble) -> None:
    expected = {
        "init=9": "kernel module is not loaded",
        "init=18": "reboot",
        "init=4": "Insufficient Permissions",
        "gpus=0": "lists no GPU",
    }
    all_seen = observe_each(nvml_double(), list(expected))
    for seen, reason in zip(all_seen, expected.values(), strict=True):
        assert reason in seen["availability"]
        assert seen["accelerators"] == [{"usable": False, "description": seen["availability"]}]
        assert (seen["rounds"], seen["devices"]) == ([[], []], [])


def test_without_a_driver_there_is_nothing_and_the_reason() -> None:
    seen = observe({})
    if seen["availability"] is None:
        pytest.skip("this machine has an NVIDIA driver")
    assert seen["availability"] == "no NVIDIA driver: its library libnvidia-ml.so.1 was not found"
    assert (seen["rounds"], seen["devices"], seen["problems"]) == ([[], []], [], [])
