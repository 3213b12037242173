"""Gates that ask whether the GPUs that the point may use ran as they can, for it alone."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis.gates.gate import Evidence, gate
from harness.analysis.gpu import gpu_name, may_use
from harness.schema.result import GpuFigures

SLOWED_DOWN = (
    "hw_slowdown",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
)
"""NVML's clock event reasons by which a GPU is slower than it can be for longer. Its power cap
(`sw_power_cap`) isn't one: a loaded GPU at its cap is in its steady state. One reading is enough: what trips
these limits once is at them, and how long its clocks were down before and after isn't known."""


@gate("a GPU slowed itself down (hardware, thermal, power brake), in any reading")
def slowed_gpu(evidence: Evidence) -> Iterator[str]:
    for gpu in _gpus(evidence):
        slowed = [reason for reason in gpu.throttle_reasons or () if reason in SLOWED_DOWN]
        if slowed:
            yield (
                f"{gpu_name(gpu)} slowed itself down ({', '.join(slowed)}): see to its cooling and its power "
                "supply"
            )


@gate("other processes computed on a GPU", limit="foreign_gpu")
def foreign_gpu(evidence: Evidence) -> Iterator[str]:
    for gpu in _gpus(evidence):
        if gpu.foreign_processes and not evidence.point.validity.foreign_gpu:
            yield (
                f"{gpu_name(gpu)} was used by other processes ({', '.join(gpu.foreign_processes)}): "
                "end them, or set validity.foreign_gpu"
            )


@gate("a GPU counted uncorrected memory errors")
def memory_errors(evidence: Evidence) -> Iterator[str]:
    for gpu in _gpus(evidence):
        if gpu.ecc_errors:
            yield (
                f"{gpu_name(gpu)} counted {gpu.ecc_errors} uncorrected memory "
                f"error{'' if gpu.ecc_errors == 1 else 's'}: "
                "what it computed can't be trusted, so measure on another one"
            )


def _gpus(evidence: Evidence) -> Iterator[GpuFigures]:
    for gpu in evidence.facts.gpu or ():
        if may_use(evidence.point, gpu.device, evidence.observed.execution_provider):
            yield gpu


GATES = (slowed_gpu, foreign_gpu, memory_errors)
