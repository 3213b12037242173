"""MIG devices, each read beside the GPU that it is a part of, over the double."""

from __future__ import annotations

import os
from typing import Any

from tests import nvml
from tests.nvml import NvmlDouble, observe, observe_each

OF_THE_WHOLE_GPU = {
    "utilization", "power_w", "energy_j", "temperature_c", "sm_clock_hz", "memory_clock_hz", "ecc_errors",
    "throttle_reasons",
}  # fmt: skip
OF_A_MIG_DEVICE = {
    "memory_bytes",
    "processes",
    "sm_activity",
    "sm_occupancy",
    "tensor_activity",
    "dram_activity",
}


def of(seen: Any, instance: int | None, device: int = 0) -> list[Any]:
    """The readings of one of the devices, in order."""
    every = [reading for readings in seen["rounds"] for reading in readings]
    return [r for r in every if (r["device"], r["mig_instance"]) == (device, instance)]


def has(readings: list[Any]) -> set[str]:
    return {k for r in readings for k, v in r.items() if v is not None} - {"at_ns", "device", "mig_instance"}


def test_each_mig_device_has_its_own_identity_beside_the_gpus(nvml_double: NvmlDouble) -> None:
    seen = observe(nvml_double("gpus=2 mig=2"))
    found = [(d["device"], d["mig_instance"], d["name"], d["memory_bytes"]) for d in seen["devices"]]
    first, second, *_ = nvml.MIG_INSTANCES
    assert found == [
        (0, None, nvml.NAME, nvml.MEMORY_TOTAL_BYTES),
        (0, first, nvml.MIG_NAME, nvml.MIG_MEMORY_TOTAL_BYTES),
        (0, second, nvml.MIG_NAME, nvml.MIG_MEMORY_TOTAL_BYTES),
        (1, None, nvml.NAME, nvml.MEMORY_TOTAL_BYTES),
        (1, first, nvml.MIG_NAME, nvml.MIG_MEMORY_TOTAL_BYTES),
        (1, second, nvml.MIG_NAME, nvml.MIG_MEMORY_TOTAL_BYTES),
    ]
    assert len({d["uuid"] for d in seen["devices"]}) == 6
    assert all(d["mig"] and d["driver"] == nvml.DRIVER for d in seen["devices"])
    for device in seen["devices"]:
        limits = {"power_limit_w", "power_limit_default_w"}
        whole = device["mig_instance"] is None
        assert {k for k in limits if device[k] is None} == (set() if whole else limits)
        assert limits <= device["unsupported"].keys() or whole
    assert [a["description"] for a in seen["accelerators"]][:2] == [
        f"GPU 0: {nvml.NAME}, 80 GiB, driver {nvml.DRIVER}, MIG on",
        f"GPU 0 MIG {first}: {nvml.MIG_NAME}, 10 GiB, driver {nvml.DRIVER}",
    ]


def test_a_mig_device_has_memory_processes_and_activity_and_the_gpu_the_rest(nvml_double: NvmlDouble) -> None:
    pids = (os.getpid(), 1, 2**22 + 1)
    seen = observe(nvml_double(f"mig=2 processes={','.join(map(str, pids))}"), rounds=8)
    assert has(of(seen, None)) == OF_THE_WHOLE_GPU - {"utilization"} | {"memory_bytes", "processes"}
    for number, instance in enumerate(nvml.MIG_INSTANCES[:2]):
        readings = of(seen, instance)
        assert has(readings) == OF_A_MIG_DEVICE
        assert readings[0]["memory_bytes"] == nvml.MIG_MEMORY_USED_BYTES[number]
        assert [p["pid"] for p in readings[0]["processes"]] == list(pids[number::2])
        activities = [r["sm_activity"] for r in readings if r["sm_activity"] is not None]
        assert activities == [nvml.MIG_SM_ACTIVITY[number]] * 2
        assert len(readings) == 3, "there is no reading where nothing was due"
    reasons = {(device, instance): why for device, instance, why in seen["unsupported"]}
    assert reasons[0, None]["utilization"] == "MIG is on"
    own = reasons[0, nvml.MIG_INSTANCES[0]]
    assert {k for k, why in own.items() if why == "belongs to the whole GPU"} == OF_THE_WHOLE_GPU
    assert own["pcie_tx_bytes_per_s"] == "the driver says: Not Supported"


def test_where_gpm_or_the_instance_is_not_known_a_mig_device_still_has_its_memory(
    nvml_double: NvmlDouble,
) -> None:
    for script in ("gpm=0", "unsupported=nvmlDeviceGetGpuInstanceId", "unsupported=nvmlGpmMigSampleGet"):
        seen = observe(nvml_double(f"mig=1 {script}"), rounds=8)
        assert has(of(seen, 0)) == {"memory_bytes", "processes"}
        assert len(of(seen, 0)) == 1, "a reading without any value would say that it is lost"
        ((_, _, _), (_, _, own)) = seen["unsupported"]
        assert own.keys() >= nvml.ACTIVITY.keys()


def test_mig_without_devices_and_mig_that_cannot_be_listed_leave_the_gpu(nvml_double: NvmlDouble) -> None:
    listing, handles = observe_each(
        nvml_double(),
        [
            "mig=1 unsupported=nvmlDeviceGetMaxMigDeviceCount",
            "mig=1 unsupported=nvmlDeviceGetMigDeviceHandleByIndex",
        ],
    )
    for seen in (listing, handles):
        assert [d["mig_instance"] for d in seen["devices"]] == [None]
        assert seen["problems"] == ["the MIG devices of GPU 0 can't be listed: NVML says 'Not Supported'"]
        assert of(seen, None)[0]["power_w"] == nvml.POWER_W


def test_a_lost_gpu_takes_its_mig_devices_with_it_and_leaves_the_others(nvml_double: NvmlDouble) -> None:
    seen = observe(nvml_double("gpus=2 mig=2 lost=0@400ms"), rounds=20)
    first, second, *_ = nvml.MIG_INSTANCES
    for instance in (None, first, second):
        assert has(of(seen, instance)[-1:]) == set(), "the last one says that it is gone"
        assert has(of(seen, instance)[:-1]) != set()
        assert has(of(seen, instance, device=1)[-1:]) != set()
    assert len(seen["problems"]) == 3
    assert seen["problems"][1].startswith(f"MIG device {first} of GPU 0 was lost")
