"""What a difference between two environments weighs: it is compared, it could explain, it hardly matters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.schema.compare_result import EnvironmentDifference, Weight

OF_GPU = re.compile(
    r"gpus\.\d+\.(device|name|memory_bytes|compute_capability|sm_clock_max_hz|memory_clock_max_hz"
    r"|power_limit_default_w|default_sm_clock_hz|default_memory_clock_hz|pcie_generation_max|pcie_width_max)"
)
"""What a GPU is, as it is sold."""

HARDLY = re.compile(r"os|python|git_commit|gpus\.\d+\.(vbios|persistence|compute_mode|device)|packages\..+")

COMPUTES = re.compile(r"packages\.(onnxruntime.*|numpy|locust|tritonclient|nvidia-.*)")
"""Packages that compute or send."""


def weight(name: str, devices: Sequence[str]) -> Weight:
    """Of a difference by its dotted path; `devices`: what each machine computed on."""
    if name in ("cpu", "cores"):
        return "subject" if set(devices) != {"gpu"} else "may explain"
    if OF_GPU.fullmatch(name):
        return "subject" if set(devices) != {"cpu"} else "hardly matters"
    if name.startswith("gpus.") and set(devices) == {"cpu"}:
        return "hardly matters"
    if name == "execution_provider" and len(set(devices)) > 1:
        return "subject"
    if HARDLY.fullmatch(name) and not COMPUTES.fullmatch(name):
        return "hardly matters"
    return "may explain"


def weighed(
    changes: Sequence[Mapping[str, tuple[str, str]]], devices: Sequence[str]
) -> tuple[EnvironmentDifference, ...]:
    """`changes`: of each machine after the reference, what the reference has and what it has, by dotted path.
    The heaviest come first."""
    order: tuple[Weight, ...] = ("subject", "may explain", "hardly matters")
    found = []
    for name in dict.fromkeys(name for each in changes for name in each):
        first = next(each[name][0] for each in changes if name in each)
        values = (first, *(each[name][1] if name in each else first for each in changes))
        found.append(EnvironmentDifference(name=name, values=values, weight=weight(name, devices)))
    return tuple(sorted(found, key=lambda each: (order.index(each.weight), each.name)))


def is_one_machine(changes: Mapping[str, tuple[str, str]], device: str) -> bool:
    """Whether nothing differs that could matter, so that two runs are of one machine, or of two alike."""
    return all(weight(name, (device, device)) == "hardly matters" for name in changes)
