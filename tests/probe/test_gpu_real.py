"""The probe on a real GPU: what only a driver can tell."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.probe.nvidia.gpm import METRICS
from harness.probe.nvidia.nvml_gpus import NvmlGpus
from harness.schema.samples import GpuReading
from tests.nvml import NvmlDouble, observe

pytestmark = pytest.mark.gpu


def read_for(gpus: NvmlGpus, seconds: float, look_s: float = 0.05) -> list[GpuReading]:
    readings: list[GpuReading] = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        readings += gpus.read()
        time.sleep(look_s)
    return readings


def test_each_value_is_there_or_has_a_reason_and_is_of_its_unit() -> None:
    with NvmlGpus() as gpus:
        readings = [r for r in read_for(gpus, 2.5) if r.mig_instance is None]
    assert gpus.problems == []
    plausible = {
        "utilization": (0, 1),
        "memory_bytes": (1 << 20, 1 << 40),
        "power_w": (1, 2500),
        "temperature_c": (1, 110),
        "sm_clock_hz": (1e7, 5e9),
        "memory_clock_hz": (1e7, 2e10),
        "sm_activity": (0, 1.01),
        "sm_occupancy": (0, 1.01),
        "tensor_activity": (0, 1.01),
        "dram_activity": (0, 1.01),
        "pcie_tx_bytes_per_s": (0, 2e11),
        "pcie_rx_bytes_per_s": (0, 2e11),
    }
    for device in gpus.devices:
        own = [r for r in readings if r.device == device.device]
        for field, (low, high) in plausible.items():
            values = [v for r in own if (v := getattr(r, field)) is not None]
            assert values or field in device.unsupported, field
            assert all(low <= v <= high for v in values), (field, values)
        nulls = {field for field, value in device if value is None} - {"mig_instance"}
        assert nulls <= device.unsupported.keys()


def test_hopper_and_later_have_gpm() -> None:
    with NvmlGpus() as gpus:
        newest = [d for d in gpus.devices if float(d.compute_capability or 0) >= 9 and not d.mig]
        if not newest:
            pytest.skip("no GPU of Hopper or later without MIG")
        readings = read_for(gpus, 1.0)
    for device in newest:
        own = [r for r in readings if r.device == device.device and r.mig_instance is None]
        for field in METRICS:
            assert any(getattr(r, field) is not None for r in own), (field, device.unsupported.get(field))


def test_the_energy_counter_grows_by_the_power_over_time() -> None:
    with NvmlGpus() as gpus:
        readings = [r for r in read_for(gpus, 6.0) if r.mig_instance is None]
        checked = 0
        for device in gpus.devices:
            own = [r for r in readings if r.device == device.device]
            counted = [(r.at_ns, r.energy_j) for r in own if r.energy_j is not None]
            powers = [r.power_w for r in own if r.power_w is not None]
            if len(counted) < 3 or not powers:
                continue
            (began_ns, began_j), (ended_ns, ended_j) = counted[0], counted[-1]
            mean_w = (ended_j - began_j) / (ended_ns - began_ns) * 1e9
            # an idle GPU's counter and its sensor are not the same instrument, and the steps are coarse
            assert mean_w == pytest.approx(sum(powers) / len(powers), rel=0.25)
            checked += 1
    if not checked:
        pytest.skip("no GPU with an energy counter and a power sensor")


def test_a_recording_of_this_gpu_replays_through_the_double(nvml_double: NvmlDouble, tmp_path: Path) -> None:
    file = tmp_path / "recording.txt"
    with NvmlGpus(file) as gpus:
        powers = {r.power_w for r in read_for(gpus, 1.5)}
    assert gpus.problems == []
    replayed = observe(nvml_double(f"replay={file}"), rounds=40)
    assert replayed["unavailable"] is None
    assert [d["uuid"] for d in replayed["devices"]] == [d.uuid for d in gpus.devices]
    assert {r["power_w"] for readings in replayed["rounds"] for r in readings} <= powers
