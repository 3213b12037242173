"""GPUs of several vendors on one machine, and packages that add one and are broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.probe.vendors import NVIDIA, vendors
from harness.schema.errors import InputError
from tests import nvml
from tests.extension import installed
from tests.gpu_vendor import NAMES, POWER_W, replayed
from tests.nvml import NvmlDouble, printed_by
from tests.probe import replaying_vendor

LOOK = """
import dataclasses, json
from harness.probe.gpus import Gpus, availability, missing, unsupported

with Gpus() as gpus:
    first, second = gpus.read(), gpus.read(everything=True)
    print(json.dumps({
        "availability": availability(),
        "missing": missing(),
        "unavailable": gpus.unavailable,
        "sources": gpus.sources,
        "devices": [[d.device, d.mig_instance, d.name] for d in gpus.devices],
        "unsupported": [[*key, sorted(reasons)] for key, reasons in unsupported(gpus.devices).items()],
        "powers": [[[r.device, r.mig_instance, r.power_w] for r in each] for each in (first, second)],
        "problems": gpus.problems,
    }))
"""

BROKEN = """
class Gpus:
    unavailable, problems, devices = None, (), ()
    def __enter__(self): return self
    def __exit__(self, *_): raise OSError("at the end")
    def read(self, *, everything=False): raise ValueError("it has read nonsense")

class Vendor:
    def missing(self): raise KeyError("of a kind")
    def open(self): return Gpus()

vendor = Vendor()
"""


def look(environment: dict[str, str]) -> Any:
    return printed_by(LOOK, environment)


def test_devices_are_counted_through_and_nvidias_keep_their_numbers(
    nvml_double: NvmlDouble, tmp_path: Path
) -> None:
    seen = look(nvml_double("gpus=2 mig=1") | replayed(tmp_path, seconds=1))
    assert (seen["availability"], seen["missing"], seen["unavailable"]) == (None, None, None)
    assert seen["sources"] == ["nvml", "replay"]
    mig = nvml.MIG_INSTANCES[0]
    assert seen["devices"] == [
        *([0, None, nvml.NAME], [0, mig, nvml.MIG_NAME], [1, None, nvml.NAME], [1, mig, nvml.MIG_NAME]),
        *([2, None, NAMES[0]], [3, None, NAMES[1]]),
    ]
    for powers in seen["powers"]:
        whole = {device: power for device, instance, power in powers if instance is None}
        assert whole == {0: nvml.POWER_W, 1: nvml.POWER_W - 100, 2: POWER_W[0], 3: POWER_W[1]}
    reasons = {(device, instance): names for device, instance, names in seen["unsupported"]}
    assert "temperature_c" in reasons[2, None] and "temperature_c" not in reasons[0, None]
    assert "driver" not in reasons[2, None], "it is none of a reading"
    assert seen["problems"] == []


def test_without_any_gpu_each_vendor_says_why(tmp_path: Path) -> None:
    environment = replayed(tmp_path, seconds=1)
    del environment["REPLAYED_GPUS"]
    seen = look(environment)
    if seen["missing"] is None:
        pytest.skip("this machine has an NVIDIA driver")
    assert (seen["devices"], seen["problems"]) == ([], [])
    assert (
        seen["availability"]
        == seen["missing"]
        == seen["unavailable"]
        == (
            "no NVIDIA driver: its library libnvidia-ml.so.1 was not found; "
            "no recording: REPLAYED_GPUS names none"
        )
    )


def test_a_vendor_that_fails_leaves_the_others(nvml_double: NvmlDouble, tmp_path: Path) -> None:
    package = installed(tmp_path, "gpu_vendors", {"broken": BROKEN}, attribute="vendor")
    seen = look(nvml_double() | {"PYTHONPATH": str(package)})
    assert seen["sources"] == ["nvml"]
    assert all(powers for powers in seen["powers"])
    assert seen["problems"] == [
        "the GPU vendor broken failed (ValueError: it has read nonsense): update its package"
    ]


@pytest.mark.parametrize("name", [NVIDIA, "remote probe", "AMD"])
def test_a_name_that_result_files_could_not_tell_from_others_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("harness.probe.vendors.extensions", lambda _: {name: replaying_vendor.vendor})
    with pytest.raises(InputError, match="an installed package names a GPU vendor"):
        vendors()
