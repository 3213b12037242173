"""NVIDIA as a vendor of GPUs (`harness.probe.vendors`)."""

from __future__ import annotations

import ctypes
from pathlib import Path

from harness.probe.nvidia.nvml_gpus import NO_LIBRARY, NvmlGpus


def cuda_unavailable() -> str | None:
    """Why CUDA can't compute here, None where it may: it computes on NVIDIA's GPUs and on no others."""
    with Nvidia().open() as gpus:
        return gpus.unavailable


class Nvidia:
    def missing(self) -> str | None:
        """Looks for the driver's library alone, so that NVML isn't opened."""
        try:
            ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return NO_LIBRARY
        return None

    def open(self) -> NvmlGpus:
        return NvmlGpus()

    def record(self, file: Path) -> NvmlGpus:
        return NvmlGpus(record=file)
